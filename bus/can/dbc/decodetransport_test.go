package dbc

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"fieldferry/bus/can"
)

const longMessages = `BO_ 2566848254 Long: 39 E
 SG_ First : 0|8@1+ (1,0) [0|0] "" X
 SG_ Fourth : 168|8@1+ (1,0) [0|0] "" X
BA_DEF_ BO_  "VFrameFormat" ENUM  "StandardCAN","ExtendedCAN","reserved","J1939PG";
BA_DEF_DEF_  "VFrameFormat" "J1939PG";
`

// TestDecodeLongMessages: what a log says of long messages, by its buses and
// its times.
func TestDecodeLongMessages(t *testing.T) {
	file, _ := Parse("long.dbc", []byte("VERSION \"\"\nBS_:\nBU_: E\n"+longMessages), Options{})
	db, _ := NewDatabase(MatchAuto, file)
	a := sender{0x17, GlobalAddress, 0xFEFE, bytes.Repeat([]byte{0xAA}, 39)}
	b := sender{0x17, GlobalAddress, 0xFEFE, bytes.Repeat([]byte{0xBB}, 39)}
	type at struct {
		bus  string
		time time.Duration
		f    can.Frame
	}
	const tick = 50 * time.Millisecond
	whole := func(bus string, s sender, from time.Duration) (list []at) {
		for _, f := range s.frames() {
			list = append(list, at{bus, from, f})
			from += tick
		}
		return list
	}
	pair := whole("can0", a, 0)
	for i, w := range whole("can1", b, time.Millisecond) {
		pair = append(pair[:2*i+1], append([]at{w}, pair[2*i+1:]...)...)
	}
	jumbled := append(whole("can0", a, 0)[:4], whole("can0", b, 500*time.Millisecond)[3:]...) // 1 2 3, 3 4 5 6
	silent := append(whole("can0", a, 0)[:4], whole("can0", b, time.Second)[4:]...)           // 1 2 3, 4 5 6 a second later
	overflow := append(whole("can0", a, 0)[:4], at{"can0", 4 * tick, can.Frame{ID: 0x4, Flags: can.ErrorFrame, Len: 8, Data: [64]byte{0, 1}}})
	overflow = append(overflow, whole("can0", a, tick)[4:]...)
	elsewhere := append(whole("can0", a, 0)[:4], at{"can1", 4 * tick, can.Frame{ID: 0x4, Flags: can.ErrorFrame, Len: 8, Data: [64]byte{0, 1}}})
	elsewhere = append(elsewhere, whole("can0", a, tick)[4:]...)
	stamp := func(t time.Duration) string {
		return fmt.Sprintf("(%d.%06d)", 1+t/time.Second, t%time.Second/time.Microsecond)
	}
	date := func(t time.Duration) string {
		return time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC).Add(t).Format("(2006-01-02 15:04:05.000000)")
	}
	none := func(time.Duration) string { return "" }
	zero := func(time.Duration) string { return "(0.000000)" }
	back := func(t time.Duration) string { return stamp(time.Hour - t) }
	for _, test := range []struct {
		name    string
		log     []at
		stamp   func(time.Duration) string
		want    string // the values of the joined messages
		untimed int64
	}{
		{"one", whole("can0", a, 0), stamp, "170 170", 0},
		{"two buses at once", pair, stamp, "170 170, 187 187", 0},
		{"number back", jumbled, stamp, "", 0},
		{"silence", silent, stamp, "", 0},
		{"silence, dates", silent, date, "", 0},
		{"dates", whole("can0", a, 0), date, "170 170", 0},
		{"no times", whole("can0", a, 0), none, "170 170", 1},
		{"zero", whole("can0", a, 0), zero, "170 170", 1},
		{"times go back", whole("can0", a, 0), back, "170 170", 1},
		{"number back, no times", jumbled, zero, "", 0},
		{"overflow of the controller", overflow, stamp, "", 0},
		{"overflow of another", elsewhere, stamp, "170 170", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log, out bytes.Buffer
			for _, l := range test.log {
				fmt.Fprintf(&log, " %s %s %s\n", test.stamp(l.time), l.bus, l.f)
			}
			d := NewDecoder(db)
			if err := d.Decode(&log, &out); err != nil {
				t.Fatal(err)
			}
			var got []string
			for line := range strings.Lines(out.String()) {
				if _, signals, ok := strings.Cut(line, `"signals":`); ok {
					got = append(got, strings.NewReplacer(`{"First":`, "", `,"Fourth":`, " ", "}}\n", "").Replace(signals))
				}
			}
			if s := strings.Join(got, ", "); s != test.want || d.Stats().Malformed > 0 {
				t.Errorf("%q, want %q\n%s", s, test.want, &out)
			}
			if d.Stats().Untimed != test.untimed {
				t.Errorf("%d joined without times, want %d", d.Stats().Untimed, test.untimed)
			}
		})
	}
}
