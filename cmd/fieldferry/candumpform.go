package main

import (
	"fmt"
	"strconv"
	"strings"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

// decode finds what a frame means; nil: nobody knows.
func (d *dumper) decode(f *can.Frame) *dbc.Message {
	if d.db == nil {
		return nil
	}
	m := d.db.Find(f.ID, f.Flags)
	if m != nil {
		d.values = m.Decode(f.Payload(), d.values[:0])
	}
	return m
}

// appendSignals appends the signals of a frame for a person, after its bytes:
//
//	:: EEC1(EngineSpeed: 812.5 rpm, State: Running)
func (d *dumper) appendSignals(dst []byte, f *can.Frame) []byte {
	m := d.decode(f)
	if m == nil {
		return dst
	}
	dst = append(dst, "  :: "...)
	dst = append(dst, printable(m.Name)...)
	dst = append(dst, '(')
	for i := range d.values {
		v := &d.values[i]
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(dst, printable(v.Signal.Name)...)
		dst = append(dst, ": "...)
		if label, ok := v.Label(); ok {
			dst = append(dst, printable(label)...)
			continue
		}
		if reason := v.Missing(); reason != "" {
			dst = append(dst, reason...)
			continue
		}
		dst = v.AppendJSON(dst)
		if v.Signal.Unit != "" {
			dst = append(dst, ' ')
			dst = append(dst, printable(v.Signal.Unit)...)
		}
	}
	return append(dst, ')')
}

// appendJSON appends a frame in the form that the verb decode prints, all but
// the last brace.
func (h *dumpedBus) appendJSON(dst []byte, f *can.Frame) []byte {
	us := max(f.Time, 0) / 1000
	dst = fmt.Appendf(dst, `{"ts":%d.%06d,"bus":%s`, us/1e6, us%1e6, strconv.Quote(h.name))
	switch {
	case f.Flags&can.ErrorFrame != 0:
		return fmt.Appendf(dst, `,"error":["%s"],"data":"%X"`, strings.Join(can.ErrorClasses(f), `","`), f.Payload())
	case f.Flags&can.Extended != 0:
		dst = fmt.Appendf(dst, `,"id":"%08X","ext":true`, f.ID)
	default:
		dst = fmt.Appendf(dst, `,"id":"%03X"`, f.ID)
	}
	dst = fmt.Appendf(dst, `,"data":"%X"`, f.Payload())
	for _, flag := range []struct {
		bit  can.Flags
		name string
	}{{can.Remote, "rtr"}, {can.FD, "fd"}, {can.BitRateSwitch, "brs"}, {can.ErrorState, "esi"}} {
		if f.Flags&flag.bit != 0 {
			dst = fmt.Appendf(dst, `,"%s":true`, flag.name)
		}
	}
	if f.Flags&can.Remote != 0 && f.Len > 0 {
		dst = fmt.Appendf(dst, `,"dlc":%d`, f.Len)
	}
	if m := h.decode(f); m != nil {
		dst = append(dst, ',')
		dst = m.AppendName(dst)
		dst = append(dst, ',')
		dst = dbc.AppendSignals(dst, h.values)
	}
	return dst
}
