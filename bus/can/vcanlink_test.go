package can_test

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
	"fieldferry/bus/can/link"
	"fieldferry/bus/can/send"
)

func settings(bitrate uint32) *link.Settings {
	return &link.Settings{Bitrate: bitrate, Mode: link.ListenOnly}
}

// TestVCANJoinedFilters: frames pass that all filters pass, and error frames
// still come. The kernel's own way of joining would keep them out: this is
// what the filters are made one for.
func TestVCANJoinedFilters(t *testing.T) {
	upInterface(t, "vcanj", false)
	sent := frames(t, "100#01", "10F#02", "110#03", "7DF#04", "0CF00400#05", "00000100#07", "100#R2")
	for _, list := range [][]string{
		{"100:700", "10F~7FF"},
		{"100:700", "000:0F0"},
		{"100:7FF", "110:7FF"},
		{"100~7FF", "110~7FF", "7DF~7FF"},
		{"100:800007FF", "0CF00400:1FFFFFFF"},
		{"00000100:80000000", "100:7FF"},
		{"100:7FF", "100:C00007FF"},
	} {
		set, err := can.ParseFilters(append(list, "j"))
		must(t, err)
		cfg := can.Config{Interface: "vcanj"}
		set.AddTo(&cfg)
		var rec cantest.Recorder
		b := newBus(t, cfg)
		r := startUp(t, b, &rec)
		s := newSender(t, "vcanj")
		must(t, s.Send(sent...))
		must(t, s.Send(frame(t, "20000080#0000000000000000")))
		waitStats(t, b, func(s can.Stats) bool { return s.ErrorFrames == 1 })
		r.stop()
		var want []string
		for _, f := range sent {
			id := f.ID
			if f.Flags&can.Extended != 0 {
				id |= unix.CAN_EFF_FLAG
			}
			if f.Flags&can.Remote != 0 {
				id |= unix.CAN_RTR_FLAG
			}
			if !slices.ContainsFunc(cfg.Filters, func(f can.Filter) bool { return !f.Match(id) }) {
				want = append(want, f.String())
			}
		}
		if got := notations(rec.All()); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", list, got, want)
		}
	}
}

// TestVCANErrorClasses: only the classes asked for are read, and those that
// tell the controller's state.
func TestVCANErrorClasses(t *testing.T) {
	upInterface(t, "vcanc", false)
	set, err := can.ParseFilters([]string{"#00000008"})
	must(t, err)
	cfg := can.Config{Interface: "vcanc"}
	set.AddTo(&cfg)
	var rec cantest.Recorder
	b := newBus(t, cfg)
	r := startUp(t, b, &rec)
	must(t, newSender(t, "vcanc").Send(frames(t, "20000080#00", "20000020#00", "20000008#00", "20000040#00", "123#01")...))
	must(t, rec.WaitFrames(testContext(t), 1))
	r.stop()
	if st := b.Stats(); st.ErrorFrames != 2 || st.Errors["protocol_violation"] != 1 || st.Errors["bus_off"] != 1 {
		t.Errorf("counters %+v", st)
	}
}

func TestVCANTimestamps(t *testing.T) {
	upInterface(t, "vcant", false)
	for from, want := range map[can.Timestamps]string{can.TimesHardware: "kernel", can.TimesKernel: "kernel", can.TimesReceive: "receive"} {
		var rec cantest.Recorder
		b := newBus(t, can.Config{Interface: "vcant", Timestamps: from})
		r := startUp(t, b, &rec)
		if got := b.Stats().Timestamps; got != want {
			t.Errorf("before the first frame: times from %q, want %q", got, want)
		}
		must(t, newSender(t, "vcant").Send(frame(t, "123#01")))
		must(t, rec.WaitFrames(testContext(t), 1))
		r.stop()
		if got := b.Stats().Timestamps; got != want {
			t.Errorf("asked for %d: times from %q, want %q", from, got, want)
		}
	}
}

// TestVCANHasNoBitrate: a link that cannot be set says so and is retried.
func TestVCANHasNoBitrate(t *testing.T) {
	upInterface(t, "vcanl", false)
	var rec cantest.Recorder
	b := newBus(t, can.Config{Interface: "vcanl", Link: settings(250_000)})
	for range 2 {
		if err := b.Run(testContext(t), &rec); err == nil || !strings.Contains(err.Error(), "virtual interface") {
			t.Errorf("Run returned %v", err)
		}
	}
	if got := rec.Events(); !slices.Equal(got, []string{"can_link_down raised"}) {
		t.Errorf("events %q", got)
	}
}

func TestVCANLink(t *testing.T) {
	canInterface(t, "vcank", true)
	info, err := link.Get("vcank")
	must(t, err)
	if info.Name != "vcank" || info.Kind != link.KindVirtual || info.Up || !info.FD() || info.Controller != nil {
		t.Errorf("%+v", info)
	}
	if info, err = link.Up("vcank", link.Settings{TxQueueLen: 77}); err != nil || !info.Up || info.TxQueueLen != 77 {
		t.Errorf("up: %+v, %v", info, err)
	}
	must(t, newSender(t, "vcank").Send(frame(t, "123#0011")))
	list, err := link.List()
	must(t, err)
	i := slices.IndexFunc(list, func(i link.Info) bool { return i.Name == "vcank" })
	if i < 0 || list[i].Traffic.RxFrames != 1 || list[i].Traffic.TxFrames != 1 {
		t.Errorf("list %+v", list)
	}
	must(t, link.Down("vcank"))
	must(t, link.Down("vcank")) // as it is already
	if info, err = link.Get("vcank"); err != nil || info.Up {
		t.Errorf("after down: %+v, %v", info, err)
	}
}

func TestVCANSend(t *testing.T) {
	v := canInterface(t, "vcanw", true)
	if _, err := send.Open("vcanw"); err == nil || !strings.Contains(err.Error(), "down") {
		t.Errorf("on an interface that is down: %v", err)
	}
	must(t, v.Up())
	var rec cantest.Recorder
	r := startUp(t, newBus(t, can.Config{Interface: "vcanw", FD: true}), &rec)
	s, err := send.Open("vcanw")
	must(t, err)
	defer s.Close()
	for _, text := range []string{"123#DE.AD", "00000123#R4", "123##1" + strings.Repeat("AB", 13)} {
		f, err := send.ParseFrame(text)
		must(t, err)
		must(t, s.Send(testContext(t), &f))
	}
	must(t, rec.WaitFrames(testContext(t), 3))
	r.stop()
	want := []string{"123#DEAD", "00000123#R4", "123##1" + strings.Repeat("AB", 13) + "000000"}
	if got := notations(rec.All()); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	classic := upInterface(t, "vcanw2", false)
	s2, err := send.Open(classic.Name)
	must(t, err)
	defer s2.Close()
	f := frame(t, "123##0AA")
	if err := s2.Send(testContext(t), &f); err == nil || !strings.Contains(err.Error(), "classic") {
		t.Errorf("CAN FD on a classic interface: %v", err)
	}
}
