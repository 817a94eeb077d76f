package can_test

import (
	"slices"
	"testing"
	"time"

	"go.einride.tech/can/pkg/socketcan"

	"fieldferry/bus"
	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
)

// TestErrorFrameEvents feeds error frames and data frames in and compares what
// comes out, in order. "+" is the link that comes up, "-" that goes down, "~" a
// frame that another program of this machine sent.
func TestErrorFrameEvents(t *testing.T) {
	const (
		raise, lower  = " raised", " cleared"
		off, passive  = bus.BusOff, bus.ErrorPassive
		warn          = bus.ErrorWarning
		busOff        = "20000040#0000000000000000"
		restarted     = "20000100#0000000000000000"
		warning       = "20000004#0008000000000000"
		txPassive     = "20000004#0020000000000000"
		rxPassive     = "20000204#001000000000FF00"
		active        = "20000004#0040000000000000"
		overflow      = "20000004#0001000000000000"
		passiveAndBus = "200000CC#0020000000000000" // several classes in one
	)
	for name, c := range map[string]struct{ in, out []string }{
		"bus off and restart":              {[]string{busOff, busOff, restarted, restarted}, []string{off + raise, off + lower}},
		"restart without bus off":          {[]string{restarted, active}, nil},
		"bus off ends with error active":   {[]string{busOff, active}, []string{off + raise, off + lower}},
		"passive of either side":           {[]string{txPassive, rxPassive, active}, []string{passive + raise, passive + lower}},
		"passive to warning":               {[]string{warning, txPassive, warning, warning}, []string{warn + raise, passive + raise, passive + lower}},
		"warning to active":                {[]string{warning, warning, active, active}, []string{warn + raise, warn + lower}},
		"again and again is one more":      {[]string{busOff, restarted, busOff, restarted, busOff, restarted, "001#"}, []string{off + raise, off + lower, off + raise, "001#"}},
		"and ends when it stays away":      {[]string{busOff, restarted, busOff, restarted, "001#", "minute", "002#", busOff, restarted}, []string{off + raise, off + lower, off + raise, "001#", off + lower, "002#", off + raise, off + lower}},
		"overflow says nothing":            {[]string{txPassive, overflow}, []string{passive + raise}},
		"several classes in one":           {[]string{passiveAndBus, restarted}, []string{off + raise, passive + raise, off + lower, passive + lower}},
		"passive, off, restart":            {[]string{txPassive, busOff, restarted}, []string{passive + raise, off + raise, off + lower, passive + lower}},
		"a link that comes up":             {[]string{busOff, "-", "-", "+", "+"}, []string{off + raise, bus.LinkDown + raise, bus.LinkDown + lower, off + lower}},
		"a frame long after bus off":       {[]string{busOff, "123#", "sleep", "~123#", "123#01"}, []string{off + raise, "123#", "123#", off + lower, "123#01"}},
		"frames before an event":           {[]string{"001#", "002#", busOff, "003#"}, []string{"001#", "002#", off + raise, "003#"}},
		"error frames without state":       {[]string{"20000080#", "2000000A#0000040000000000", "20000020#", "20000010#"}, nil},
		"bits nobody knows, no class, all": {[]string{"3FFFFC00#", "20000000#"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var rec cantest.Recorder
			b := newBus(t, can.Config{})
			d := can.NewDeliverer(b, &rec)
			now := int64(1e18)
			for _, s := range c.in {
				now += int64(time.Millisecond)
				switch s {
				case "+", "-":
					d.Link(s == "+")
				case "sleep":
					now += int64(time.Second)
				case "minute":
					now += int64(time.Minute)
					d.Settle(now)
				default:
					own := s[0] == '~'
					if own {
						s = s[1:]
					}
					f := frame(t, s)
					f.Time = now
					d.Frame(f, own)
				}
			}
			d.Flush()
			var got []string
			for _, it := range rec.Items() {
				if it.Frame != nil {
					got = append(got, it.Frame.String())
				} else {
					got = append(got, it.Event.Code+" "+it.Event.State.String())
				}
			}
			if !slices.Equal(got, c.out) {
				t.Errorf("got  %q\nwant %q", got, c.out)
			}
		})
	}
}

func TestErrorFrameDetail(t *testing.T) {
	var rec cantest.Recorder
	d := can.NewDeliverer(newBus(t, can.Config{Interface: "can7"}), &rec)
	f := frame(t, "20000204#001000000000FF80")
	f.Time = 1e18
	d.Frame(f, false)
	d.Frame(frame(t, "20000100#0000000000000000"), false)
	items := rec.Items()
	if e := items[0].Event; e.Detail["tx_errors"] != 255 || e.Detail["rx_errors"] != 128 || e.Detail["interface"] != "can7" || e.Time.UnixNano() != 1e18 {
		t.Errorf("raised with %+v", e)
	}
	if e := items[1].Event; e.Detail["by"] != "restarted" || e.Detail["tx_errors"] != nil {
		t.Errorf("cleared with %+v", e)
	}
}

// TestErrorClasses: the names are those of the classes einride knows.
func TestErrorClasses(t *testing.T) {
	for bit, want := range map[socketcan.ErrorClass]string{
		socketcan.ErrorClassTxTimeout: "tx_timeout", socketcan.ErrorClassLostArbitration: "lost_arbitration",
		socketcan.ErrorClassController: "controller", socketcan.ErrorClassProtocolViolation: "protocol_violation",
		socketcan.ErrorClassTransceiver: "transceiver", socketcan.ErrorClassNoAck: "no_ack", socketcan.ErrorClassBusOff: "bus_off",
		socketcan.ErrorClassBusError: "bus_error", socketcan.ErrorClassRestarted: "restarted", 0x400: "other",
	} {
		b := newBus(t, can.Config{})
		d := can.NewDeliverer(b, discard{})
		d.Frame(can.Frame{ID: uint32(bit), Flags: can.ErrorFrame, Len: 8}, false)
		if st := b.Stats(); len(st.Errors) != 1 || st.Errors[want] != 1 || st.ErrorFrames != 1 || st.Frames != 0 {
			t.Errorf("class %#x: counters %+v", uint32(bit), st)
		}
	}
}
