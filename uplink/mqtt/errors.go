package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"
)

// Reason says why there is no connection, or no longer one. Its text form is
// a stable word for metrics and alarms.
type Reason uint8

// The reasons.
const (
	ReasonUnknown         Reason = iota
	ReasonSecret                 // password, CA, certificate or key could not be read here
	ReasonNoSuchHost             // DNS
	ReasonUnreachable            // no route, no network
	ReasonConnRefused            // nobody listens there
	ReasonConnectTimeout         // no answer to TCP
	ReasonUnknownCA              // the certificate is not signed by a trusted CA
	ReasonCertExpired            // the certificate's time is over
	ReasonCertNotYetValid        // the certificate's time has not come, or the clock here is wrong
	ReasonCertHostName           // the certificate is for another host
	ReasonClientCert             // the broker ended the TLS handshake: client certificate missing or refused
	ReasonTLS                    // any other failure of TLS
	ReasonNotMQTT                // something else answered, for example a captive portal
	ReasonProtocol               // the broker broke MQTT, or says that we did
	ReasonNoConnack              // connected, but no answer to TLS, the WebSocket handshake or CONNECT
	ReasonVersion                // CONNACK 1; MQTT 5: 0x84
	ReasonClientID               // CONNACK 2; 0x85
	ReasonUnavailable            // CONNACK 3; 0x88, 0x89, 0x8B
	ReasonUser                   // CONNACK 4 or 5; 0x86, 0x87, 0x8A, 0x8C
	ReasonRefused                // CONNACK with any other code
	ReasonAckTimeout             // no PUBACK in time
	ReasonKeepAlive              // no answer to PINGREQ
	ReasonWriteTimeout           // the connection takes no bytes any more
	ReasonLost                   // closed by the broker or the network
	ReasonDenied                 // the broker does not let us publish
	ReasonTakenOver              // another client connected with our client id
	ReasonThrottled              // too many messages, bytes or connections for the broker
	ReasonMoved                  // the broker sends us to another server
	ReasonQoS                    // the broker does not take QoS 1
	ReasonTooLarge               // a packet was larger than the broker takes
	ReasonGoodbye                // the broker ended the connection and said so
	ReasonGateLogin              // WebSocket: 401, 403 or 407
	ReasonGateAlone              // WebSocket: 502, 503 or 504
	ReasonRedirect               // WebSocket: 3xx
	ReasonProxy                  // the HTTP proxy makes no connection
	ReasonProxyLogin             // the HTTP proxy does not let us
	ReasonTLSVersion             // no version of TLS in common
	ReasonFlood                  // the broker sends what nobody asked for, without end
)

// reasons has per Reason its word, what happened, and what to do.
var reasons = [...]struct{ word, text, hint string }{
	ReasonUnknown:         {"unknown", "the connection failed", ""},
	ReasonSecret:          {"secret", "cannot read the password or a TLS file", "check the files and their access rights"},
	ReasonNoSuchHost:      {"no_such_host", "the host name cannot be resolved", "check the name and the DNS servers"},
	ReasonUnreachable:     {"unreachable", "there is no way to the host", "check the network connection"},
	ReasonConnRefused:     {"connection_refused", "nobody listens at that port", "check that the broker runs, the port, and the firewall"},
	ReasonConnectTimeout:  {"connect_timeout", "the host does not answer", "check the address and the firewall"},
	ReasonUnknownCA:       {"unknown_ca", "the broker's certificate is not signed by a trusted CA", "configure the broker's CA certificate"},
	ReasonCertExpired:     {"certificate_expired", "the broker's certificate has expired", "renew it on the broker, or check the clock here"},
	ReasonCertNotYetValid: {"certificate_not_yet_valid", "the broker's certificate is not valid yet", "the clock here is probably wrong: check time synchronisation"},
	ReasonCertHostName:    {"certificate_host_name", "the broker's certificate is for another host", "use the name in the certificate, or set the server name"},
	ReasonClientCert:      {"client_certificate", "the broker ended the TLS handshake", "check the client certificate and key, and the TLS versions the broker accepts"},
	ReasonTLS:             {"tls", "TLS failed", "check that the port is the broker's TLS port"},
	ReasonNotMQTT:         {"not_mqtt", "what answers there is not an MQTT broker", "check the port and path, and whether a captive portal wants a login"},
	ReasonProtocol:        {"protocol", "the broker broke the MQTT protocol", "check what listens there, and the broker's log"},
	ReasonNoConnack:       {"no_connack", "the host takes connections, and no MQTT broker answers there", "check the port, whether it expects TLS or WebSocket, and the broker's log"},
	ReasonVersion:         {"refused_version", "the broker does not accept this version of MQTT", "set protocol to the one it speaks, 3.1.1 or 5"},
	ReasonClientID:        {"refused_client_id", "the broker refused the client id", "choose another client id"},
	ReasonUnavailable:     {"refused_unavailable", "the broker says that it is not available", "check the broker"},
	ReasonUser:            {"refused_user", "the broker refused the user name or password", "check user name and password, and the broker's access rules"},
	ReasonRefused:         {"refused", "the broker refused the connection", "check the broker's log"},
	ReasonAckTimeout:      {"ack_timeout", "the broker does not acknowledge messages", "check the broker's load and log"},
	ReasonKeepAlive:       {"keep_alive", "the broker does not answer any more", "check the network connection"},
	ReasonWriteTimeout:    {"write_timeout", "the connection takes no data any more", "check the network connection"},
	ReasonLost:            {"lost", "the connection was lost", "check the network and the broker's log"},
	ReasonDenied:          {"denied", "the broker does not let this client publish", "grant the client write access to its topics"},
	ReasonTakenOver:       {"taken_over", "another client connects with the same client id", "give every gateway a client_id of its own"},
	ReasonThrottled:       {"throttled", "the broker has had too much of us", "set max_rate, or raise the broker's limits"},
	ReasonMoved:           {"moved", "the broker says that another server is to be used", "change servers"},
	ReasonQoS:             {"refused_qos", "the broker does not take messages with QoS 1", "raise the broker's highest QoS"},
	ReasonTooLarge:        {"too_large", "a packet was larger than the broker takes", "lower batch.max_bytes, or raise the broker's limit"},
	ReasonGoodbye:         {"goodbye", "the broker ended the connection", "check the broker's log"},
	ReasonGateLogin:       {"gate_login", "the web server before the broker wants a login", "set headers, such as Authorization, or check what they say"},
	ReasonGateAlone:       {"gate_without_broker", "the web server before the broker does not reach it", "check that the broker runs"},
	ReasonRedirect:        {"redirected", "the web server sends us to another place", "write that into servers; or a captive portal wants a login"},
	ReasonProxy:           {"proxy", "the proxy makes no connection to the broker", "check proxy, and what the proxy allows"},
	ReasonProxyLogin:      {"proxy_login", "the proxy does not let this machine through", "check user and password in proxy, and the proxy's rules"},
	ReasonTLSVersion:      {"tls_version", "the broker does not take the versions of TLS that are allowed here", "lower tls.min_version, or renew the broker's TLS"},
	ReasonFlood:           {"flood", "the broker sends without end what nobody has asked for", "check what listens there, and what it subscribes its clients to"},
}

// String is the reason as one word, for example "refused_user".
func (r Reason) String() string {
	if int(r) < len(reasons) {
		return reasons[r].word
	}
	return "unknown"
}

// Error says what went wrong with which server. It never contains a secret.
type Error struct {
	_ [0]func() // nobody compares them: saves the code for it

	Reason Reason
	Server string // URL without user and password; empty: not about one server
	Err    error  // the cause; may be nil

	Contact Contact // of an attempt that failed
}

// Contact is how far an attempt came that failed.
type Contact uint8

// The contacts.
const (
	Reached   Contact = iota // something answered
	HungUp                   // a connection was accepted and ended without a word, as by a relay with no broker behind it
	Unreached                // nobody accepted a connection
)

// Error is what happened, to what, why, and what to do.
func (e *Error) Error() string {
	r := reasons[ReasonUnknown]
	if int(e.Reason) < len(reasons) {
		r = reasons[e.Reason]
	}
	s := r.text
	if e.Server != "" {
		s = e.Server + ": " + s
	}
	if e.Err != nil {
		s += " (" + e.Err.Error() + ")"
	}
	if r.hint != "" {
		s += "; " + r.hint
	}
	return s
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// Slow says that trying again soon is of no use and a burden to the broker.
func (e *Error) Slow() bool {
	switch e.Reason {
	case ReasonUser, ReasonClientID, ReasonVersion, ReasonClientCert,
		ReasonDenied, ReasonTakenOver, ReasonThrottled, ReasonQoS,
		ReasonGateLogin, ReasonProxyLogin:
		return true
	}
	return false
}

// NewError is an error whose reason is known where it happened.
func NewError(r Reason, err error) *Error { return &Error{Reason: r, Err: err} }

// AsError gives err the server's name and, if nothing said it, a reason.
func AsError(server string, err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		e = &Error{Err: err}
	}
	out := *e
	out.Server = server
	return &out
}

// dialError finds the reason in an error of opening a TCP connection.
func dialError(err error) *Error {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return NewError(ReasonNoSuchHost, err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return NewError(ReasonConnRefused, err)
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETDOWN):
		return NewError(ReasonUnreachable, err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return NewError(ReasonConnectTimeout, err)
	}
	return NewError(ReasonUnreachable, err)
}

// tlsError finds the reason in an error of the TLS handshake.
func tlsError(err error, now time.Time) *Error {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return certTimeError(invalid, now)
	case errors.As(err, &unknown):
		return NewError(ReasonUnknownCA, err)
	case errors.As(err, &host):
		return NewError(ReasonCertHostName, err)
	case errors.As(err, &record):
		if string(record.RecordHeader[:]) == "HTTP/" {
			return NewError(ReasonNotMQTT, errors.New("it answers with plain HTTP"))
		}
		return NewError(ReasonTLS, errors.New("it does not speak TLS"))
	case errors.As(err, &op) && op.Op == "remote error": // crypto/tls: an alert from the peer
		return NewError(alertReason(op.Err), err)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return NewError(ReasonConnectTimeout, err)
	}
	return NewError(ReasonTLS, err)
}

// alertReason is what an alert of the peer means. crypto/tls keeps the type of
// alerts to itself, but for the one of QUIC, which has the same words.
func alertReason(alert error) Reason {
	is := func(code tls.AlertError) bool { return alert.Error() == code.Error() }
	switch { // RFC 8446, 6.2
	case is(70), is(86): // protocol_version, inappropriate_fallback
		return ReasonTLSVersion
	case is(112), is(120): // unrecognized_name, no_application_protocol
		return ReasonTLS
	}
	return ReasonClientCert
}

// certTimeError tells an old certificate from a wrong clock: x509 calls both
// Expired. Boards without a battery start in 1970.
func certTimeError(e x509.CertificateInvalidError, now time.Time) *Error {
	const day = "2006-01-02 15:04 MST"
	clock := now.UTC().Format(day)
	if e.Cert != nil && now.Before(e.Cert.NotBefore) {
		return NewError(ReasonCertNotYetValid,
			fmt.Errorf("valid from %s, the clock here says %s", e.Cert.NotBefore.UTC().Format(day), clock))
	}
	if e.Cert != nil {
		return NewError(ReasonCertExpired,
			fmt.Errorf("valid until %s, the clock here says %s", e.Cert.NotAfter.UTC().Format(day), clock))
	}
	return NewError(ReasonCertExpired, e)
}

// readError finds the reason in an error of reading from a connection.
func readError(err error, connacked bool) *Error {
	var e *Error
	var op *net.OpError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &op) && op.Op == "remote error":
		return NewError(alertReason(op.Err), err) // TLS 1.3 refuses a client certificate after the handshake
	case !connacked:
		return NewError(ReasonNoConnack, err)
	}
	return NewError(ReasonLost, err)
}

// writeError finds the reason in an error of writing to a connection.
func writeError(err error) *Error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return NewError(ReasonWriteTimeout, err)
	}
	return NewError(ReasonLost, err)
}
