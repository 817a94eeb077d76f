package mqtt

import "fmt"

// connackReason is the reason for a CONNACK reason code from 0x80 (MQTT 5, 3.2.2.2).
func connackReason(code byte) Reason {
	switch code {
	case 0x84:
		return ReasonVersion
	case 0x85:
		return ReasonClientID
	case 0x86, 0x87, 0x8A, 0x8C: // bad user or password, not authorised, banned, authentication method
		return ReasonUser
	case 0x88, 0x89: // unavailable, busy
		return ReasonUnavailable
	case 0x97, 0x9F: // quota, connection rate
		return ReasonThrottled
	case 0x9B:
		return ReasonQoS
	case 0x9C, 0x9D:
		return ReasonMoved
	case 0x81, 0x82:
		return ReasonProtocol
	}
	return ReasonRefused
}

// disconnectReason is the reason for a DISCONNECT from the broker (MQTT 5, 3.14.2.1).
func disconnectReason(code byte) Reason {
	switch code {
	case 0x87:
		return ReasonDenied
	case 0x89, 0x8B: // busy, shutting down
		return ReasonUnavailable
	case 0x8D:
		return ReasonKeepAlive
	case 0x8E:
		return ReasonTakenOver
	case 0x95:
		return ReasonTooLarge
	case 0x96, 0x97, 0x9F: // message rate, quota, connection rate
		return ReasonThrottled
	case 0x9B:
		return ReasonQoS
	case 0x9C, 0x9D:
		return ReasonMoved
	case 0x81, 0x82, 0x93: // malformed, protocol error, receive maximum
		return ReasonProtocol
	}
	return ReasonGoodbye
}

// Refusal is the error of a token whose message the broker has answered, but
// not taken: PUBACK with a reason code from 0x80 (MQTT 5, 3.4.2.1).
type Refusal struct {
	Code byte
	Said string // the broker's reason string, for people
}

// pubackCodes has the words for the codes that MQTT 5 knows.
var pubackCodes = map[byte]string{
	0x80: "unspecified error",
	0x83: "implementation specific error",
	0x87: "not authorised",
	0x90: "topic name invalid",
	0x91: "packet identifier in use",
	0x95: "packet too large",
	0x97: "quota exceeded",
	0x99: "payload format invalid",
}

// Error is the code, in words if it is known, and what the broker said.
func (r *Refusal) Error() string {
	s := fmt.Sprintf("PUBACK reason code 0x%02X", r.Code)
	if text := pubackCodes[r.Code]; text != "" {
		s += ", " + text
	}
	if r.Said != "" {
		s += fmt.Sprintf(": %q", r.Said)
	}
	return s
}
