package link

import (
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// bytesOf reads hexadecimal digits with spaces, lines and comments after "|".
func bytesOf(t testing.TB, text string) []byte {
	t.Helper()
	var digits strings.Builder
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "|")
		digits.WriteString(strings.Join(strings.Fields(line), ""))
	}
	b, err := hex.DecodeString(digits.String())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEncode compares messages with what "ip link set can0 up type can ..."
// sends, written out from linux/if_link.h and linux/can/netlink.h.
func TestEncode(t *testing.T) {
	const head = `00 00 0000 07000000 | ifinfomsg: family, pad, type, index
		01000000 01000000 | flags and change: IFF_UP
		`
	hundred := uint32(100)
	for name, c := range map[string]struct {
		s       *Settings
		current Mode
		want    string
	}{
		"only up": {nil, 0, head},
		"classic": {
			&Settings{Bitrate: 250_000, SamplePoint: 875, Mode: ListenOnly | TripleSampling, RestartMs: &hundred, TxQueueLen: 50}, 0,
			head + `0800 0d00 32000000 | IFLA_TXQLEN
			4800 1280 | IFLA_LINKINFO, nested
			  0800 0100 63616e00 | IFLA_INFO_KIND "can"
			  3c00 0280 | IFLA_INFO_DATA, nested
			    2400 0100 90d00300 6b030000 00000000 00000000 00000000 00000000 00000000 00000000 | IFLA_CAN_BITTIMING
			    0c00 0500 06000000 06000000 | IFLA_CAN_CTRLMODE: mask, flags
			    0800 0600 64000000 | IFLA_CAN_RESTART_MS
			`,
		},
		"fd, not listen-only any more": {
			&Settings{Bitrate: 500_000, DataBitrate: 2_000_000, DataSamplePoint: 800, Mode: FD | OneShot | Loopback}, ListenOnly | PresumeAck,
			head + `6400 1280
			  0800 0100 63616e00
			  5800 0280
			    2400 0100 20a10700 00000000 00000000 00000000 00000000 00000000 00000000 00000000
			    2400 0900 80841e00 20030000 00000000 00000000 00000000 00000000 00000000 00000000 | IFLA_CAN_DATA_BITTIMING
			    0c00 0500 2b000000 29000000
			`,
		},
		"virtual": {&Settings{TxQueueLen: 1}, 0, head + "0800 0d00 01000000"},
	} {
		got, err := encode(7, unix.IFF_UP, unix.IFF_UP, c.s, "can", c.current)
		if want := bytesOf(t, c.want); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v\n got %x\nwant %x", name, err, got, want)
		}
	}
	got, err := encodeRestart(7, "can")
	want := bytesOf(t, `00 00 0000 07000000 00000000 00000000
		1800 1280
		  0800 0100 63616e00
		  0c00 0280
		    0800 0700 01000000 | IFLA_CAN_RESTART`)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("restart: %v\n got %x\nwant %x", err, got, want)
	}
}

// recorded is what the kernel tells of a controller that is bus-off, with the
// parts that other interfaces have in common left out.
const recorded = `00 00 1801 02000000 c1000400 00000000 | ARPHRD_CAN, up
	0900 0300 63616e30 00 000000 | IFLA_IFNAME "can0"
	0800 0400 10000000 | IFLA_MTU
	0800 0d00 0a000000 | IFLA_TXQLEN
	6400 1700 | IFLA_STATS64: a little more than is read
	  0100000000000000 0200000000000000 0300000000000000 0400000000000000
	  0500000000000000 0600000000000000 0700000000000000 0800000000000000
	  0900000000000000 0a00000000000000 0b00000000000000 0c00000000000000
	e000 1280 | IFLA_LINKINFO
	  0800 0100 63616e00
	  1c00 0300 01000000 02000000 03000000 04000000 05000000 06000000 | IFLA_INFO_XSTATS
	  b800 0280 | IFLA_INFO_DATA
	    2400 0100 90d00300 6b030000 fa000000 06000000 07000000 02000000 01000000 02000000
	    3400 0200 736a6131303030000000000000000000 | IFLA_CAN_BITTIMING_CONST "sja1000"
	      01000000 10000000 01000000 08000000 04000000 01000000 40000000 01000000
	    0800 0300 00127a00 | IFLA_CAN_CLOCK
	    0800 0400 03000000 | IFLA_CAN_STATE
	    0c00 0500 00000000 02000000 | IFLA_CAN_CTRLMODE
	    0800 0600 64000000 | IFLA_CAN_RESTART_MS
	    0800 0800 f800 0300 | IFLA_CAN_BERR_COUNTER
	    0600 0b00 7800 0000 | IFLA_CAN_TERMINATION
	    0c00 1100 | IFLA_CAN_CTRLMODE_EXT
	      0800 0100 7f000000
	    0c00 0d00 90d00300 20a10700 | IFLA_CAN_BITRATE_CONST
	    0800 0f00 40420f00 | IFLA_CAN_BITRATE_MAX
	    0800 6300 ffffffff | of a later kernel
	`

func TestDecode(t *testing.T) {
	info, ok, err := decode(bytesOf(t, recorded))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	c := info.Controller
	info.Controller = nil
	want := Info{Name: "can0", Index: 2, Kind: "can", Up: true, MTU: 16, TxQueueLen: 10, Traffic: Traffic{
		RxFrames: 1, TxFrames: 2, RxBytes: 3, TxBytes: 4, RxErrors: 5, TxErrors: 6, RxDropped: 7, TxDropped: 8, RxOverruns: 12}}
	if info != want {
		t.Errorf("got  %+v\nwant %+v", info, want)
	}
	if c == nil || c.Limits == nil {
		t.Fatalf("controller %+v", c)
	}
	limits := Const{Name: "sja1000", TSeg1Min: 1, TSeg1Max: 16, TSeg2Min: 1, TSeg2Max: 8, SJWMax: 4, BRPMin: 1, BRPMax: 64, BRPSteps: 1}
	timing := BitTiming{Bitrate: 250_000, SamplePoint: 875, TimeQuantum: 250, PropSeg: 6, PhaseSeg1: 7, PhaseSeg2: 2, SJW: 1, Prescaler: 2}
	counters := Counters{BusErrors: 1, ErrorWarning: 2, ErrorPassive: 3, BusOff: 4, ArbitrationLost: 5, Restarts: 6}
	if *c.Limits != limits || c.Timing != timing || c.Counters != counters || c.State != BusOff || c.Clock != 8_000_000 ||
		c.Mode != ListenOnly || c.Supported != 0x7f || c.RestartMs != 100 || !c.HasErrors || c.TxErrors != 248 || c.RxErrors != 3 ||
		c.Termination != 120 || !slices.Equal(c.Bitrates, []uint32{250_000, 500_000}) || c.BitrateMax != 1_000_000 {
		t.Errorf("controller %+v %+v", c, c.Limits)
	}
}

// TestDecodeOthers: interfaces that are none of CAN, and messages cut short.
func TestDecodeOthers(t *testing.T) {
	full := bytesOf(t, recorded)
	ethernet := slices.Clone(full)
	ethernet[2], ethernet[3] = 1, 0
	if _, ok, err := decode(ethernet); ok || err != nil {
		t.Errorf("of Ethernet: %v, %v", ok, err)
	}
	for n := range len(full) {
		decode(full[:n]) // must not panic
	}
	if _, _, err := decode(full[:10]); err == nil {
		t.Error("ten bytes are no error")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(bytesOf(f, recorded))
	f.Fuzz(func(_ *testing.T, b []byte) { decode(b) })
}

func TestMatches(t *testing.T) {
	never, soon := uint32(0), uint32(100)
	info, _, _ := decode(bytesOf(t, recorded))
	for name, c := range map[string]struct {
		s    Settings
		want bool
	}{
		"nothing asked":      {Settings{}, true},
		"the same":           {Settings{Bitrate: 250_000, SamplePoint: 875, Mode: ListenOnly, RestartMs: &soon, TxQueueLen: 10}, true},
		"the same, but less": {Settings{Bitrate: 250_000, Mode: ListenOnly}, true},
		"bit rate":           {Settings{Bitrate: 500_000, Mode: ListenOnly}, false},
		"sample point":       {Settings{Bitrate: 250_000, SamplePoint: 800, Mode: ListenOnly}, false},
		"not listen-only":    {Settings{Bitrate: 250_000}, false},
		"another mode too":   {Settings{Bitrate: 250_000, Mode: ListenOnly | OneShot}, false},
		"no restart":         {Settings{Bitrate: 250_000, Mode: ListenOnly, RestartMs: &never}, false},
		"data bit rate":      {Settings{Bitrate: 250_000, DataBitrate: 1_000_000, Mode: ListenOnly}, false},
		"queue":              {Settings{TxQueueLen: 11}, false},
	} {
		if got := c.s.Matches(&info); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestPossible: what a controller cannot do is known before it is touched.
func TestPossible(t *testing.T) {
	info, _, _ := decode(bytesOf(t, recorded))
	fresh := info
	bare := *info.Controller
	bare.Timing = BitTiming{}
	fresh.Controller = &bare
	virtual := Info{Name: "vcan0", Kind: "vcan"}
	for name, c := range map[string]struct {
		s    Settings
		info *Info
		want string
	}{
		"all right":             {Settings{Bitrate: 500_000, Mode: ListenOnly}, &info, ""},
		"up as it is":           {Settings{}, &info, ""},
		"up without a bit rate": {Settings{}, &fresh, "no bit rate is set"},
		"virtual":               {Settings{}, &virtual, ""},
		"virtual, bit rate":     {Settings{Bitrate: 500_000}, &virtual, "virtual interface"},
		"no such mode":          {Settings{Bitrate: 500_000, Mode: TDCAuto}, &info, "tdc-auto"},
		"not in the list":       {Settings{Bitrate: 125_000}, &info, "no bit rate of 125000"},
		"too fast":              {Settings{Bitrate: 500_000, DataBitrate: 2_000_000}, &info, "1000000 bit/s at most"},
	} {
		err := c.s.possible(c.info)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTaken: a controller that made something else of it than was asked.
func TestTaken(t *testing.T) {
	info, _, _ := decode(bytesOf(t, recorded))
	never := uint32(0)
	down := info
	down.Up = false
	for name, c := range map[string]struct {
		s    Settings
		info *Info
		want string
	}{
		"as asked":        {Settings{Bitrate: 250_000, Mode: ListenOnly}, &info, ""},
		"nearly":          {Settings{Bitrate: 249_000, Mode: ListenOnly}, &info, ""},
		"half the rate":   {Settings{Bitrate: 500_000, Mode: ListenOnly}, &info, "asked for 500000"},
		"without a mode":  {Settings{Bitrate: 250_000, Mode: ListenOnly | OneShot}, &info, "one-shot"},
		"another restart": {Settings{Bitrate: 250_000, Mode: ListenOnly, RestartMs: &never}, &info, "restart-ms"},
		"still down":      {Settings{}, &down, "still down"},
	} {
		err := c.s.taken(c.info)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNames(t *testing.T) {
	if got := (ListenOnly | OneShot).String(); got != "listen-only,one-shot" {
		t.Error(got)
	}
	if got := BusOff.String() + " " + State(9).String(); got != "bus-off state 9" {
		t.Error(got)
	}
}

// TestHere asks this kernel, whatever interfaces it has.
func TestHere(t *testing.T) {
	if _, err := List(); errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, os.ErrPermission) {
		t.Skip("no rtnetlink here")
	} else if err != nil {
		t.Fatal(err)
	}
	if _, err := Get("nosuch0"); !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), "nosuch0: there is no such interface") {
		t.Errorf("of an interface that is not there: %v", err)
	}
	if _, err := Get("lo"); !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), "lo is not a CAN interface") {
		t.Errorf("of lo: %v", err)
	}
	if err := Down("lo"); !errors.Is(err, ErrNoDevice) {
		t.Errorf("down of lo: %v", err)
	}
	if _, err := Up("lo", Settings{}); !errors.Is(err, ErrNoDevice) {
		t.Errorf("up of lo: %v", err)
	}
}
