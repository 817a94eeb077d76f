package gateway

import (
	"fmt"
	"math"

	"fieldferry/bus/can"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/config"
	"fieldferry/gateway/payload/native"
)

// meta is what the gateway reads.
type meta struct {
	V       int    `json:"v"`
	Gateway string `json:"gateway"`
	Session uint64 `json:"session"`
	Sources []any  `json:"sources"`

	Alarms     []alarmMeta `json:"alarms,omitempty"`      // what can be raised
	AlarmParts int         `json:"alarm_parts,omitempty"` // messages it is in, {root}/meta/gateway and so on

	SourcesOmitted int `json:"sources_omitted,omitempty"`
}

type alarmMeta struct {
	Code     string `json:"code"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
	Text     string `json:"text"` // what it means, and what to do
}

type canMeta struct {
	Source      string `json:"source"`
	Type        string `json:"type"`
	Interface   string `json:"interface"`
	Timestamps  string `json:"timestamps,omitempty"` // where times come from; not known before the first frame
	Bitrate     uint32 `json:"bitrate,omitempty"`
	DataBitrate uint32 `json:"dbitrate,omitempty"`

	Messages []messageMeta `json:"messages,omitempty"` // of the DBC files
	Parts    int           `json:"parts,omitempty"`    // messages they are in, {root}/meta/{source} and so on
	Omitted  int           `json:"omitted,omitempty"`  // of them, as they are too large alone
}

type messageMeta struct {
	Name    string       `json:"name"`
	ID      string       `json:"id"`
	Signals []signalMeta `json:"signals"`
}

type signalMeta struct {
	Name   string            `json:"name"`
	Unit   string            `json:"unit,omitempty"`
	Min    *float64          `json:"min,omitempty"` // the limits, where the DBC file gives them
	Max    *float64          `json:"max,omitempty"`
	Labels map[string]string `json:"labels,omitempty"` // by raw value
}

type modbusMeta struct {
	Source  string       `json:"source"`
	Type    string       `json:"type"`
	Port    string       `json:"port"`
	Devices []deviceMeta `json:"devices"`
	Parts   int          `json:"parts,omitempty"`   // see canMeta
	Omitted int          `json:"omitted,omitempty"` // see canMeta
}

type deviceMeta struct {
	Device string      `json:"device"`
	UnitID uint8       `json:"unit_id"`
	Values []valueMeta `json:"values"`
}

type valueMeta struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Unit string `json:"unit,omitempty"`
}

func metaOfCAN(c *config.CAN, st can.Stats) *canMeta {
	m := &canMeta{Source: c.Name, Type: "can", Interface: c.Bus.Interface,
		Timestamps: st.Timestamps, Bitrate: st.Bitrate, DataBitrate: st.DataBitrate}
	if c.DBC == nil {
		return m
	}
	for _, d := range c.DBC.Messages() {
		digits := 3
		if d.Extended {
			digits = 8
		}
		mm := messageMeta{Name: d.Name, ID: fmt.Sprintf("%0*X", digits, d.ID), Signals: []signalMeta{}}
		for i := range d.Signals {
			s := &d.Signals[i]
			sm := signalMeta{Name: s.Name, Unit: s.Unit}
			if low, high, ok := s.Limits(); ok {
				sm.Min, sm.Max = finite(low), finite(high)
			}
			for _, l := range s.Labels {
				if sm.Labels == nil {
					sm.Labels = map[string]string{}
				}
				sm.Labels[fmt.Sprint(l.Raw)] = l.Text
			}
			mm.Signals = append(mm.Signals, sm)
		}
		m.Messages = append(m.Messages, mm)
	}
	return m
}

// finite returns nil for an infinite limit, which JSON has no number for.
func finite(f float64) *float64 {
	if math.IsInf(f, 0) {
		return nil
	}
	return &f
}

// wholeMeta is all there is to say.
func (g *Gateway) wholeMeta() *meta {
	m := &meta{V: native.Version, Gateway: g.cfg.Gateway.ID, Session: g.buffer.Stats().Session, Sources: []any{}, Alarms: alarmTable()}
	for _, s := range g.sources {
		m.Sources = append(m.Sources, s.meta())
	}
	return m
}

func metaOfModbus(c *modbus.LineConfig) modbusMeta {
	m := modbusMeta{Source: c.Name, Type: "modbus", Port: c.Port, Devices: []deviceMeta{}}
	for _, d := range c.Devices {
		dm := deviceMeta{Device: d.Name, UnitID: d.UnitID, Values: []valueMeta{}}
		for _, r := range d.Registers {
			dm.Values = append(dm.Values, valueMeta{r.Name, r.Type.String(), r.Unit})
		}
		m.Devices = append(m.Devices, dm)
	}
	return m
}
