package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
	"fieldferry/bus/can/dbc"
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

// limitOf finds the limit of an id as the bus does.
func limitOf(bus can.Config, id uint32) can.Limit {
	for _, l := range bus.Limits {
		if id&l.Mask == l.ID&l.Mask && (l.Only == nil || l.Only.Has(id)) {
			return l.Limit
		}
	}
	return bus.Limit
}

// TestLimitsByName: the limit of a message of a DBC file holds for the frames
// that get its name, of J1939 for all of its parameter group; what carries long
// messages is not limited.
func TestLimitsByName(t *testing.T) {
	const ext = 1 << 31
	for name, c := range map[string]struct {
		set                []string
		limited, otherwise []uint32
	}{
		"by parameter group": {nil,
			[]uint32{0x18F00455 | ext, 0x0CF00400 | ext, 0x18F00417 | ext, 0x0C000003 | ext, 0x0C0021FF | ext, 0x123},
			[]uint32{0x18F00555 | ext, 0x0CF10400 | ext, 0x124, 0x1CECFF00 | ext, 0x1CEB0102 | ext}},
		"by id": {[]string{"can.0.match=id"},
			[]uint32{0x18F00455 | ext, 0x0CF00400 | ext, 0x0C000003 | ext, 0x123},
			[]uint32{0x18F00417 | ext, 0x0C0021FF | ext, 0x123 | ext, 0x1CECFF00 | ext}},
	} {
		opts := surroundings()
		opts.Set = c.set
		bus := load(t, "testdata/good/canlimit.yaml", opts).CAN[0].Bus
		for _, id := range c.limited {
			if !limitOf(bus, id).OnChange {
				t.Errorf("%s: %X is not limited", name, id)
			}
		}
		for _, id := range c.otherwise {
			if limitOf(bus, id).OnChange {
				t.Errorf("%s: %X is limited by what is said of others", name, id)
			}
		}
		for _, id := range []uint32{0x1CECFF00 | ext, 0x1CEB0102 | ext} {
			if l := limitOf(bus, id); c.set == nil && l != (can.Limit{}) {
				t.Errorf("%s: packets have the limit %+v", name, l)
			}
		}
	}
}

// TestLimitsOfOneGroup: two senders give one parameter group two meanings, of
// which each has its own limit.
func TestLimitsOfOneGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "two.dbc")
	source := `BO_ 2499788567 NameA: 8 E
 SG_ A : 0|8@1+ (1,0) [0|10] "" E
 SG_ B : 8|8@1+ (1,0) [0|10] "" E
BO_ 2566897425 NameB: 8 E
BO_ 2566897440 Long: 20 E
BA_ "ProtocolType" "J1939";
`
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	opts := surroundings()
	opts.Set = []string{"can.0.dbc=" + path, "can.0.messages={NameA: {limit: {every_nth: 10}, signals: {B: {not_available: false}}}, NameB: {limit: {every_nth: 20}}, Long: {limit: {every_nth: 30}}}"}
	cfg := load(t, "testdata/good/canlimit.yaml", opts)
	for id, want := range map[uint32]uint32{
		0x94FFBF17: 10, 0x98FFBF17: 10, 0x98FFBF11: 20, 0x94FFBF11: 20,
		0x98FFBF42: 10, // of a third sender: the first message counts
		0x98FFBF20: 0,  // the parts of a long message are not limited
	} {
		if l := limitOf(cfg.CAN[0].Bus, id); l.EveryNth != want {
			t.Errorf("%X: %+v, want every %d", id, l, want)
		}
	}
	m := cfg.CAN[0].DBC.Lookup(0x14FFBF17, true)
	want := `"signals":{"A":null,"B":255},"errors":{"A":"not available"},"out_of_range":["B"]`
	if got := string(dbc.AppendSignals(nil, m.Decode([]byte{0xFF, 0xFF}, nil))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	opts.Set[1] = "can.0.messages={NameA: {not_available: false}, Long: {limit: {every_nth: 5}}, NameB: {signals: {C: {not_available: false}}}, 1FF: {not_available: false}}"
	_, problems := Load("testdata/good/canlimit.yaml", opts)
	for _, want := range []string{"Long.limit: warning: is of no use", `"C" is not a signal of NameB`, "messages.1FF.not_available: is for what a DBC file describes"} {
		if !strings.Contains(lines(problems), want) {
			t.Errorf("%q is missing in\n%s", want, lines(problems))
		}
	}
}

// TestFiltersAndDBC: filters that keep out what the DBC files describe are no
// fault of the file, but nobody wants them.
func TestFiltersAndDBC(t *testing.T) {
	path := filepath.Join(t.TempDir(), "engine.dbc")
	source := `BO_ 2364540158 EEC1: 8 E
BO_ 2566834942 DM1: 24 E
BO_ 291 Body: 8 E
BA_ "ProtocolType" "J1939";
`
	if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	const none, torn = "let no message of the DBC files pass", `let "DM1" through but not the packets`
	for filters, want := range map[string]string{
		`[]`:                                         "",
		`["#FF"]`:                                    "",
		`["0CF00400:1FFFFFFF"]`:                      "", // any sender's is EEC1
		`["0CF00400:1FFFFF00"]`:                      "",
		`["00F00400:03FFFF00"]`:                      "",
		`["123:7FF"]`:                                "",
		`["123:C00007FF"]`:                           "",
		`["00EC0000:03FF0000"]`:                      none,
		`["00F00500:03FFFF00"]`:                      none,
		`["124:C00007FF"]`:                           none,
		`["00000123:9FFFFFFF"]`:                      none, // an extended id
		`["18FECA00:1FFFFF00"]`:                      torn,
		`["1:C00007FF", "00FECA00:03FFFF00"]`:        torn,
		`["00EC0000:03FF0000", "00EB0000:03FF0000"]`: "",
		`["18FECA00:1FFFFF00", "00EC0000:03FF0000", "00EB0000:03FF0000"]`: "",
	} {
		opts := surroundings()
		opts.Set = []string{"can.0.dbc=" + path, "can.0.messages={}", "can.0.limit={}", "can.0.filters=" + filters}
		cfg, problems := Load("testdata/good/canlimit.yaml", opts)
		got := lines(problems)
		if cfg == nil || (want == "") == strings.Contains(got, "filters") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", filters, got, want)
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
	byID := func(id uint32) can.Limit { return limitOf(bus, id) }
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
		"5 of a group":            {byID(0x0CF00403 | 1<<31), speed(0x0CF00403, 3, 800), speed(0x0CF00403, 3, 840), false},
		"5 of a group, beyond":    {byID(0x0CF00403 | 1<<31), speed(0x0CF00403, 3, 800), speed(0x0CF00403, 3, 841), true},
		"10% of an id":            {byID(0x0C000003 | 1<<31), speed(0x0C000003, 1, 800), speed(0x0C000003, 1, 880), false},
		"10% of an id, beyond":    {byID(0x0C000003 | 1<<31), speed(0x0C000003, 1, 800), speed(0x0C000003, 1, 881), true},
		"1% of all others":        {bus.Limit, speed(0x0CF00403, 3, 800), speed(0x0CF00403, 3, 808), false},
		"1% of all others beyond": {bus.Limit, speed(0x0CF00403, 3, 800), speed(0x0CF00403, 3, 809), true},
	} {
		if !c.limit.OnChange || c.limit.Change == nil || c.limit.Change.Changed(c.last, c.now) != c.want {
			t.Errorf("%s: %+v says not %v", name, c.limit, c.want)
		}
	}
	if l := byID(0x123); !l.OnChange || l.Change != nil {
		t.Errorf("without a deadband: %+v", l)
	}
}

// TestLimitsOfPages: two pages of a message that come in turns are limited each by
// itself, however the limit is written, and as before where nothing says that
// there are pages.
func TestLimitsOfPages(t *testing.T) {
	var log strings.Builder
	for i := range 40 {
		fmt.Fprintf(&log, "(%d.%d00000) can0 104#%02X05000000\n", 1700000000+i/10, i%10, i%2)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "pages.log")
	if err := os.WriteFile(path, []byte(log.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		keys string
		want [2]int // of 20 each
	}{
		"on change":         {"dbc: DBC, limit: {on_change: true}", [2]int{1, 1}},
		"deadband":          {"dbc: DBC, limit: {deadband: 5}", [2]int{1, 1}},
		"every other frame": {"dbc: DBC, limit: {every_nth: 2}", [2]int{10, 10}},
		"min interval":      {"dbc: DBC, limit: {min_interval: 400ms}", [2]int{10, 10}},
		"max interval":      {"dbc: DBC, limit: {on_change: true, max_interval: 1s}", [2]int{4, 4}},
		"by name":           {"dbc: DBC, messages: {Pages: {limit: {every_nth: 2}}}", [2]int{10, 10}},
		"by id":             {`dbc: DBC, messages: {"104": {limit: {every_nth: 2}}}`, [2]int{10, 10}},
		"without DBC":       {"limit: {on_change: true}", [2]int{20, 20}},
		"not described":     {"dbc: testdata/good/canlimit.dbc, limit: {every_nth: 2}", [2]int{20, 0}},
	} {
		text := "can: [{interface: \"replay:" + path + "?speed=max&time=log\", " + strings.Replace(c.keys, "DBC", "testdata/good/deadband.dbc", 1) + "}]\nuplink: {servers: [mqtt://h]}\n"
		cfg, problems := Parse("f.yaml", []byte(text), surroundings())
		if cfg == nil {
			t.Fatal(name, problems)
		}
		bus, err := can.New(cfg.CAN[0].Bus, nil)
		if err != nil {
			t.Fatal(err)
		}
		var rec cantest.Recorder
		if err := bus.Run(t.Context(), &rec); !errors.Is(err, can.ErrEnd) {
			t.Fatal(err)
		}
		var got [2]int
		for _, f := range rec.All() {
			got[f.Data[0]]++
		}
		if got != c.want {
			t.Errorf("%s: %v of the pages pass, want %v", name, got, c.want)
		}
	}
}
