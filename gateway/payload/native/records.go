package native

import (
	"encoding/json"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/record"
	"fieldferry/gateway/topic"
)

// appendReading appends the members of what one poll of a Modbus device yielded.
func (e *Encoder) appendReading(dst, body []byte) ([]byte, error) {
	r := &e.reading
	if err := record.ParseReading(body, r); err != nil {
		return dst, err
	}
	dst = appendString(append(dst, `"device":`...), r.Device)
	dst = append(dst, `,"values":{`...)
	failed := len(r.Failures)
	for i := range r.Values {
		v := &r.Values[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendString(dst, v.Name), ':')
		if v.Kind == modbus.KindFloat && notFinite(v.Float) {
			dst = append(dst, "null"...)
			failed++
			continue
		}
		dst = appendValue(dst, v)
	}
	dst = append(dst, '}')
	if failed == 0 {
		return dst, nil
	}
	return appendFailures(dst, r), nil
}

// appendFailures appends the "errors" member: what could not be read, and
// values that JSON has no number for.
func appendFailures(dst []byte, r *modbus.Reading) []byte {
	dst = append(dst, `,"errors":{`...)
	sep := ""
	member := func(name, what string) {
		dst = append(dst, sep...)
		sep = ","
		dst = append(appendString(dst, name), ':')
		dst = appendString(dst, what)
	}
	for _, f := range r.Failures {
		member(f.Name, f.Err)
	}
	for i := range r.Values {
		if v := &r.Values[i]; v.Kind == modbus.KindFloat && notFinite(v.Float) {
			member(v.Name, nameOfNotFinite(v.Float))
		}
	}
	return append(dst, '}')
}

// appendEvent appends the members of an event.
func appendEvent(dst, body []byte) ([]byte, error) {
	var e record.Event
	detail, err := record.ParseEvent(body, &e)
	if err != nil {
		return dst, err
	}
	dst = appendString(append(dst, `"event":`...), e.Code)
	dst = appendString(append(dst, `,"state":`...), e.State.String())
	if e.ID != 0 {
		dst = appendUint(append(dst, `,"id":`...), e.ID)
	}
	if e.Subject != "" {
		dst = appendString(append(dst, `,"subject":`...), e.Subject)
	}
	if e.Severity != "" {
		dst = appendString(append(dst, `,"severity":`...), e.Severity)
	}
	if !e.Since.IsZero() {
		dst = append(dst, `,"since":"`...)
		dst = append(e.Since.AppendFormat(dst, time.RFC3339Nano), '"')
	}
	if e.Again {
		dst = append(dst, `,"again":true`...)
	}
	if e.Flapping {
		dst = append(dst, `,"flapping":true`...)
	}
	if e.Times > 1 {
		dst = appendUint(append(dst, `,"times":`...), e.Times)
	}
	if len(detail) > 0 {
		dst = append(append(dst, `,"detail":`...), detail...)
	}
	return dst, nil
}

// appendAudit appends the members of an audit record. Empty ones are left out.
func appendAudit(dst, body []byte) ([]byte, error) {
	a, err := record.ParseAudit(body)
	if err != nil {
		return dst, err
	}
	dst = appendString(append(dst, `"action":`...), a.Action)
	dst = appendTexts(dst, [2]string{"who", a.Who}, [2]string{"by", a.By}, [2]string{"from", a.From}, [2]string{"detail", a.Detail})
	if a.More > 0 {
		dst = appendUint(append(dst, `,"more":`...), a.More)
	}
	return dst, nil
}

// appendTexts appends further members, each a name and a text; empty ones are
// left out.
func appendTexts(dst []byte, members ...[2]string) []byte {
	for _, m := range members {
		if m[1] != "" {
			dst = appendString(appendName(dst, m[0]), m[1])
		}
	}
	return dst
}

// appendName appends the name of a further member, which needs no escapes.
func appendName(dst []byte, name string) []byte {
	return append(append(append(dst, `,"`...), name...), `":`...)
}

// KeysOf returns what a topic template may name of a body. One that cannot be
// read has no keys.
func KeysOf(body []byte, d *Decoding) topic.Keys {
	_, body, _ = record.CutOrigin(body)
	switch record.Of(body) {
	case record.TypeFrame, record.TypeLimited:
		if f, err := record.ParseFrame(body); err == nil {
			return keysOfID(f.ID, f.Flags&can.Extended != 0, d.lookup(f.ID, f.Flags))
		}
	case record.TypePacket:
		if id, _, err := record.ParsePacket(body); err == nil {
			return keysOfID(id, true, d.lookupPacket(id))
		}
	case record.TypeReading:
		if device, err := record.DeviceOf(body); err == nil {
			return topic.Keys{Device: device, Name: device}
		}
	case record.TypeOldReading:
		var m struct{ Device string }
		if json.Unmarshal(object(record.Members(body)), &m) == nil {
			return topic.Keys{Device: m.Device, Name: m.Device}
		}
	}
	return topic.Keys{}
}

// keysOfID are the keys of an id, and of the message that describes it or nil.
func keysOfID(id uint32, extended bool, m *dbc.Message) topic.Keys {
	k := topic.Keys{ID: string(appendID(nil, id, extended))}
	if k.Name = k.ID; m != nil {
		k.Name = m.Name
	}
	return k
}

func object(members []byte) []byte {
	return append(append([]byte{'{'}, members...), '}')
}
