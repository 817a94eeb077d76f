package config

import (
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/link"

	"github.com/google/go-cmp/cmp"
)

// TestCAN reads every key of a CAN source.
func TestCAN(t *testing.T) {
	never := uint32(0)
	const states = 0x4 | 0x40 | 0x100 // always read: controller, bus-off, restarted
	want := []CAN{
		{Name: "can0", Bus: can.Config{Interface: "can0", Bitrate: 250000, Timestamps: can.TimesHardware, Join: true,
			Filters:      []can.Filter{{ID: 0x100, Mask: 0x700}, {ID: 0x123, Mask: 0x7FF, Invert: true}},
			ErrorClasses: states,
			Link: &link.Settings{Bitrate: 250000, SamplePoint: 875, Mode: link.ListenOnly | link.TripleSampling,
				RestartMs: &never, TxQueueLen: 100},
			Limit: can.Limit{OnChange: true, MinInterval: 100 * time.Millisecond, MaxInterval: time.Minute},
			Limits: []can.MessageLimit{
				{ID: 0x123, Mask: 0x9FFFFFFF, Limit: can.Limit{EveryNth: 10}},
				{ID: 0x0CF00400 | 1<<31, Mask: 0x9FFFFFFF},
			}}},
		{Name: "can1", Bus: can.Config{Interface: "can1", Bitrate: 500000, DataBitrate: 2000000, FD: true,
			Timestamps: can.TimesReceive, Join: true, ErrorClasses: states,
			Link: &link.Settings{Bitrate: 500000, DataBitrate: 2000000, DataSamplePoint: 800, Mode: link.FD | link.Loopback | link.OneShot}}},
		{Name: "sim:engine", Bus: can.Config{Interface: "sim:engine", Bitrate: 250000}},
		{Name: "can2", Bus: can.Config{Interface: "can2"}},
	}
	cfg := load(t, "testdata/good/can.yaml", surroundings())
	if diff := cmp.Diff(want, cfg.CAN); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
	for i := range cfg.CAN {
		if _, err := can.New(cfg.CAN[i].Bus, nil); err != nil {
			t.Errorf("what check accepts cannot run: %v", err)
		}
	}
}

// TestLimitsByName: a message of a DBC file stands for its id, and one of J1939
// for all that have its parameter group; what carries long messages is not limited.
func TestLimitsByName(t *testing.T) {
	group := func(id, mask uint32) can.MessageLimit { return can.MessageLimit{ID: id | 1<<31, Mask: mask | 1<<31} }
	limited := func(m can.MessageLimit) can.MessageLimit { m.Limit.OnChange = true; return m }
	for name, c := range map[string]struct {
		set  []string
		want []can.MessageLimit
	}{
		"by parameter group": {nil, []can.MessageLimit{
			limited(group(0x18F00455, 0x1FFFFFFF)), limited(group(0x00F00400, 0x03FFFF00)), limited(group(0x00000000, 0x03FF0000)),
			limited(can.MessageLimit{ID: 0x123, Mask: 0x9FFFFFFF}), group(0x00EC0000, 0x03FF0000), group(0x00EB0000, 0x03FF0000)}},
		"by id": {[]string{"can.0.match=id"}, []can.MessageLimit{
			limited(group(0x18F00455, 0x1FFFFFFF)), limited(group(0x0CF00400, 0x1FFFFFFF)), limited(group(0x0C000003, 0x1FFFFFFF)),
			limited(can.MessageLimit{ID: 0x123, Mask: 0x9FFFFFFF})}},
	} {
		opts := surroundings()
		opts.Set = c.set
		got := load(t, "testdata/good/canlimit.yaml", opts).CAN[0].Bus.Limits
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// TestDeadbands asks what was configured about frames of the database.
func TestDeadbands(t *testing.T) {
	opts := surroundings()
	opts.Set = []string{
		"can.0.limit={deadband: 1%, max_interval: 1m}",
		"can.0.messages={EEC1: {limit: {deadband: {EngineSpeed: 5}}}, 0C000003: {limit: {on_change: true, deadband: {RequestedSpeed: 10%}}}, Body: {limit: {on_change: true}}}",
	}
	cfg := load(t, "testdata/good/canlimit.yaml", opts)
	bus := cfg.CAN[0].Bus
	if _, err := can.New(bus, nil); err != nil {
		t.Fatal(err)
	}
	byID := map[uint32]can.Limit{}
	for _, l := range bus.Limits {
		byID[l.ID] = l.Limit
	}
	speed := func(id uint32, at int, eighths uint16) *can.Frame {
		f := &can.Frame{ID: id, Flags: can.Extended, Len: 8}
		f.Data[at], f.Data[at+1] = byte(eighths), byte(eighths>>8)
		return f
	}
	for name, c := range map[string]struct {
		limit     can.Limit
		last, now *can.Frame
		want      bool
	}{
		"5 of a group":            {byID[0x00F00400|1<<31], speed(0x0CF00403, 3, 800), speed(0x0CF00403, 3, 840), false},
		"5 of a group, beyond":    {byID[0x00F00400|1<<31], speed(0x0CF00403, 3, 800), speed(0x0CF00403, 3, 841), true},
		"10% of an id":            {byID[0x0C000003|1<<31], speed(0x0C000003, 1, 800), speed(0x0C000003, 1, 880), false},
		"10% of an id, beyond":    {byID[0x0C000003|1<<31], speed(0x0C000003, 1, 800), speed(0x0C000003, 1, 881), true},
		"1% of all others":        {bus.Limit, speed(0x0CF00403, 3, 800), speed(0x0CF00403, 3, 808), false},
		"1% of all others beyond": {bus.Limit, speed(0x0CF00403, 3, 800), speed(0x0CF00403, 3, 809), true},
	} {
		if !c.limit.OnChange || c.limit.Change == nil || c.limit.Change.Changed(c.last, c.now) != c.want {
			t.Errorf("%s: %+v says not %v", name, c.limit, c.want)
		}
	}
	if l := byID[0x123]; !l.OnChange || l.Change != nil {
		t.Errorf("without a deadband: %+v", l)
	}
}
