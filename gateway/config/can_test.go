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
			Limits: map[uint32]can.Limit{
				0x123:              {EveryNth: 10},
				0x0CF00400 | 1<<31: {},
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
