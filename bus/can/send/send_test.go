package send

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"fieldferry/bus/can"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseFrame(t *testing.T) {
	for text, want := range map[string]string{
		"123#DEADBEEF":            "123#DEADBEEF",
		"5A1#11.2233.44556677.88": "5A1#1122334455667788",
		"1F334455#1122":           "1F334455#1122",
		"123#":                    "123#",
		"123#R":                   "123#R",
		"123#r5":                  "123#R5",
		"00000123#R3":             "00000123#R3",
		"213##311.22":             "213##31122",
		"123##0":                  "123##0",
	} {
		f, err := ParseFrame(text)
		if err != nil || f.String() != want {
			t.Errorf("%s: %v, %v", text, f, err)
		}
	}
	for _, text := range []string{"", "#", "123", "12#00", "800#", "123#0", "123#GG", "123#001122334455667788", "123##", "20000000#", "20000040#0000000000000000", "x23#", "123.#00"} {
		if f, err := ParseFrame(text); err == nil {
			t.Errorf("%q is read as %v", text, f)
		}
	}
}

func TestOpenWhatIsNotThere(t *testing.T) {
	for _, name := range []string{"nosuch0", "lo", ""} {
		if s, err := Open(name); err == nil {
			t.Errorf("%q can be sent on", name)
			s.Close()
		}
	}
}

// sink is a Writer that notes what comes when.
type sink struct {
	start time.Time
	got   []string
	fail  error
}

func (s *sink) Send(_ context.Context, f *can.Frame) error {
	s.got = append(s.got, fmt.Sprintf("%d %v", time.Since(s.start).Milliseconds(), f))
	return s.fail
}

const log = `(100.000000) can0 001#01
(100.010000) can1 002#02
(100.010000) can0 20000040#0000000000000000
nonsense
(100.250000) can0 003#03
(5.000000) can0 004#04
(5.100000) can2 005#05
`

// play plays the log and returns what came, and how it ended.
func play(t *testing.T, change func(*Log, *sink), within time.Duration) (*sink, Played, error) {
	t.Helper()
	var s *sink
	var p Played
	var err error
	synctest.Test(t, func(t *testing.T) {
		s = &sink{start: time.Now()}
		l := Log{Rounds: 1, To: func([]byte) Writer { return s },
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(log)), nil }}
		if change != nil {
			change(&l, s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		p, err = Play(ctx, l)
	})
	return s, p, err
}

func TestPlay(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Log, *sink)
		within time.Duration
		want   string
		played Played
	}{
		"its own timing": {nil, time.Hour, "0 001#01,10 002#02,250 003#03,250 004#04,350 005#05", Played{5, 1, 1}},
		"ten times as fast": {func(l *Log, _ *sink) { l.Speed = 10 }, time.Hour,
			"0 001#01,1 002#02,25 003#03,25 004#04,35 005#05", Played{5, 1, 1}},
		"at once": {func(l *Log, _ *sink) { l.Speed = math.Inf(1) }, time.Hour,
			"0 001#01,0 002#02,0 003#03,0 004#04,0 005#05", Played{5, 1, 1}},
		"twice": {func(l *Log, _ *sink) { l.Rounds = 2 }, time.Hour,
			"0 001#01,10 002#02,250 003#03,250 004#04,350 005#05,351 001#01,361 002#02,601 003#03,601 004#04,701 005#05", Played{10, 2, 2}},
		"until the end": {func(l *Log, _ *sink) { l.Rounds = 0 }, 400 * time.Millisecond,
			"0 001#01,10 002#02,250 003#03,250 004#04,350 005#05,351 001#01,361 002#02", Played{7, 2, 2}},
		"one interface": {func(l *Log, s *sink) {
			l.To = func(iface []byte) Writer {
				if string(iface) == "can1" {
					return s
				}
				return nil
			}
		}, time.Hour, "0 002#02", Played{1, 5, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s, p, err := play(t, c.change, c.within)
			if got := strings.Join(s.got, ","); err != nil || got != c.want || p != c.played {
				t.Errorf("%v, %+v\n got %s\nwant %s", err, p, got, c.want)
			}
		})
	}
}

func TestPlayFails(t *testing.T) {
	full := errors.New("full")
	if s, _, err := play(t, func(_ *Log, s *sink) { s.fail = full }, time.Hour); !errors.Is(err, full) || len(s.got) != 1 {
		t.Errorf("%v after %q", err, s.got)
	}
	if _, _, err := play(t, func(l *Log, _ *sink) { l.To = func([]byte) Writer { return nil }; l.Rounds = 0 }, time.Hour); err == nil {
		t.Error("a log that goes nowhere is played for ever")
	}
	if _, _, err := play(t, func(l *Log, _ *sink) {
		l.Open = func() (io.ReadCloser, error) { return nil, full }
	}, time.Hour); !errors.Is(err, full) {
		t.Error(err)
	}
}
