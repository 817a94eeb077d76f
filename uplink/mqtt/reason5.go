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

// pubackText is what MQTT 5 calls a code of PUBACK; empty if it has none. A switch is
// smaller than a map, here and in subackText.
func pubackText(code byte) string {
	switch code {
	case 0x80:
		return "unspecified error"
	case 0x83:
		return "implementation specific error"
	case 0x87:
		return "not authorised"
	case 0x90:
		return "topic name invalid"
	case 0x91:
		return "packet identifier in use"
	case 0x95:
		return "packet too large"
	case 0x97:
		return "quota exceeded"
	case 0x99:
		return "payload format invalid"
	}
	return ""
}

// Error is the code, in words if it is known, and what the broker said.
func (r *Refusal) Error() string {
	s := fmt.Sprintf("PUBACK reason code 0x%02X", r.Code)
	if text := pubackText(r.Code); text != "" {
		s += ", " + text
	}
	if r.Said != "" {
		s += fmt.Sprintf(": %q", r.Said)
	}
	return s
}
