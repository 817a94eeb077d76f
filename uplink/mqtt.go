package uplink

import "fieldferry/uplink/mqtt"

// What the uplink takes over from a connection as it is.
type (
	Protocol     = mqtt.Protocol
	Server       = mqtt.Server
	ServerError  = mqtt.ServerError
	Error        = mqtt.Error
	Reason       = mqtt.Reason
	Subscription = mqtt.Subscription
	Received     = mqtt.Received
	Properties   = mqtt.Properties
)

// The versions of MQTT.
const (
	Protocol311 = mqtt.Protocol311
	Protocol5   = mqtt.Protocol5
)

// The reasons.
const (
	ReasonUnknown         = mqtt.ReasonUnknown
	ReasonSecret          = mqtt.ReasonSecret
	ReasonNoSuchHost      = mqtt.ReasonNoSuchHost
	ReasonUnreachable     = mqtt.ReasonUnreachable
	ReasonConnRefused     = mqtt.ReasonConnRefused
	ReasonConnectTimeout  = mqtt.ReasonConnectTimeout
	ReasonUnknownCA       = mqtt.ReasonUnknownCA
	ReasonCertExpired     = mqtt.ReasonCertExpired
	ReasonCertNotYetValid = mqtt.ReasonCertNotYetValid
	ReasonCertHostName    = mqtt.ReasonCertHostName
	ReasonClientCert      = mqtt.ReasonClientCert
	ReasonTLS             = mqtt.ReasonTLS
	ReasonNotMQTT         = mqtt.ReasonNotMQTT
	ReasonProtocol        = mqtt.ReasonProtocol
	ReasonNoConnack       = mqtt.ReasonNoConnack
	ReasonVersion         = mqtt.ReasonVersion
	ReasonClientID        = mqtt.ReasonClientID
	ReasonUnavailable     = mqtt.ReasonUnavailable
	ReasonUser            = mqtt.ReasonUser
	ReasonRefused         = mqtt.ReasonRefused
	ReasonAckTimeout      = mqtt.ReasonAckTimeout
	ReasonKeepAlive       = mqtt.ReasonKeepAlive
	ReasonWriteTimeout    = mqtt.ReasonWriteTimeout
	ReasonLost            = mqtt.ReasonLost
	ReasonDenied          = mqtt.ReasonDenied
	ReasonTakenOver       = mqtt.ReasonTakenOver
	ReasonThrottled       = mqtt.ReasonThrottled
	ReasonMoved           = mqtt.ReasonMoved
	ReasonQoS             = mqtt.ReasonQoS
	ReasonTooLarge        = mqtt.ReasonTooLarge
	ReasonGoodbye         = mqtt.ReasonGoodbye
	ReasonGateLogin       = mqtt.ReasonGateLogin
	ReasonGateAlone       = mqtt.ReasonGateAlone
	ReasonRedirect        = mqtt.ReasonRedirect
	ReasonProxy           = mqtt.ReasonProxy
	ReasonProxyLogin      = mqtt.ReasonProxyLogin
	ReasonTLSVersion      = mqtt.ReasonTLSVersion
	ReasonFlood           = mqtt.ReasonFlood
)

// ParseServer reads the URL of a server, see [mqtt.ParseServer].
func ParseServer(s string) (Server, error) { return mqtt.ParseServer(s) }

// ValidateTopic says whether s can be published to, see [mqtt.ValidateTopic].
func ValidateTopic(s string) error { return mqtt.ValidateTopic(s) }
