package alarm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"fieldferry/bus"
	"fieldferry/gateway/record"
	"fieldferry/gateway/statedir"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// life is one life of a gateway's account, and the stream it makes.
type life struct {
	*Set
	t     *testing.T
	notes []note
	stop  func()
}

type note struct {
	record.Event
	source string
	at     time.Time // when it was told
}

func (n note) String() string {
	s := fmt.Sprint(n.Code, " ", n.State, " ", n.ID)
	for _, m := range []struct {
		is   bool
		text string
	}{{n.Again, " again"}, {n.Flapping, " flapping"}, {n.Times > 1, fmt.Sprint(" times=", n.Times)}} {
		if m.is {
			s += m.text
		}
	}
	return s
}

// begin starts a life in a directory and lets the machine boot; session 0 leaves
// Begin to the test.
func begin(t *testing.T, dir string, session uint64, change func(*Config)) *life {
	t.Helper()
	l := beginAtBoot(t, dir, session, change)
	time.Sleep(boot)
	return l
}

func beginAtBoot(t *testing.T, dir string, session uint64, change func(*Config)) *life {
	l := &life{t: t}
	cfg := Config{
		Files: statedir.In(dir), Durable: time.Second,
		Emit: func(source string, e *record.Event) { l.notes = append(l.notes, note{*e, source, time.Now()}) },
	}
	if change != nil {
		change(&cfg)
	}
	l.Set = New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { l.Run(ctx); close(ended) }()
	l.stop = func() { cancel(); <-ended }
	if session > 0 {
		l.Begin(session, "gateway", map[string]any{})
	}
	return l
}

// What comes up a little later than the service is not an alarm; what does not
// come up is one, and what goes later is one at once.
func TestBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := beginAtBoot(t, t.TempDir(), 7, nil)
		defer l.stop()
		l.raise(bus.LinkDown)
		l.raise(bus.PortLost)
		l.raise(bus.SlaveOffline) // it is explained
		l.raise(DiskFault)        // it cannot be late
		time.Sleep(boot / 2)
		l.want("disk_fault raised 29360130")
		l.clear(bus.LinkDown)
		time.Sleep(boot)
		l.want("port_lost raised 29360131")
		l.raise(bus.LinkDown)
		l.want("can_link_down raised 29360132")
	})
}

// all returns the notes so far.
func (l *life) all() []note {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.notes)
}

func (l *life) say(source, code, subject string, state bus.State) {
	l.Report(source, bus.Event{Time: time.Now(), Code: code, Subject: subject, State: state})
}

func (l *life) raise(code string) { l.say("s", code, "", bus.Raised) }
func (l *life) clear(code string) { l.say("s", code, "", bus.Cleared) }

// want checks the notes since the last call, but for the start.
func (l *life) want(notes ...string) {
	l.t.Helper()
	got := []string{}
	for _, n := range l.all() {
		if n.Code != Started {
			got = append(got, n.String())
		}
	}
	l.mu.Lock()
	l.notes = nil
	l.mu.Unlock()
	if strings.Join(got, ", ") != strings.Join(notes, ", ") {
		l.t.Errorf("notes %q, want %q", got, notes)
	}
}

func pass(d time.Duration) { time.Sleep(d); synctest.Wait() }

func TestRaisedOnceAndClearedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, t.TempDir(), 7, nil)
		for range 3 {
			l.raise(bus.PortLost)
		}
		l.want("port_lost raised 29360130")
		l.clear(bus.SlaveOffline)
		for range 3 {
			l.clear(bus.PortLost)
		}
		l.want("port_lost cleared 29360130")
		l.raise("of a later version")
		l.say("s", RecordsRejected, "", bus.Momentary)
		l.say("s", RecordsRejected, "", bus.Momentary)
		l.want("of a later version raised 29360131", "records_rejected event 29360132", "records_rejected event 29360133")
		l.stop()
	})
}

func TestTimeToVisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, t.TempDir(), 1, nil)
		start := time.Now()
		l.raise(UplinkDown)
		pass(4900 * time.Millisecond)
		l.clear(UplinkDown) // too short for anybody to be told
		pass(time.Hour)
		l.want()
		l.raise(UplinkDown)
		pass(5 * time.Second)
		if n := l.all(); len(n) != 1 || !n[0].Since.Equal(start.Add(4900*time.Millisecond+time.Hour)) || !n[0].Time.Equal(time.Now()) {
			t.Errorf("%+v", n)
		}
		l.want("uplink_down raised 4194306")
		l.clear(UplinkDown)
		l.want("uplink_down cleared 4194306")
		l.stop()
	})
}

func TestExplainedConditionsAreHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, t.TempDir(), 1, nil)
		hidden := func() (n int) {
			for _, c := range l.Counts() {
				n += c.Hidden
			}
			return n
		}
		l.raise(bus.PortLost)
		for _, unit := range []string{"a", "b", "c"} {
			l.say("s", bus.SlaveOffline, unit, bus.Raised)
		}
		l.say("other", bus.SlaveOffline, "x", bus.Raised)
		l.want("port_lost raised 4194306", "slave_offline raised 4194307")
		if n := hidden(); n != 3 {
			t.Errorf("%d are hidden", n)
		}
		l.say("s", bus.SlaveOffline, "a", bus.Cleared)
		l.clear(bus.PortLost)
		l.want("port_lost cleared 4194306")
		pass(unveil - 1)
		l.say("s", bus.SlaveOffline, "b", bus.Cleared) // it answers as soon as it is asked
		l.want()
		pass(1)
		l.want("slave_offline raised 4194308") // c alone
		if n := hidden(); n != 0 {
			t.Errorf("%d are hidden", n)
		}
		// What was raised before its cause stays, and ends on its own.
		l.raise(bus.PortLost)
		l.say("s", bus.SlaveOffline, "c", bus.Cleared)
		l.want("port_lost raised 4194309", "slave_offline cleared 4194308")
		l.stop()
	})
}

func TestFlappingIsDampedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := begin(t, dir, 1, nil)
		for range 100 {
			l.raise(bus.LinkDown)
			pass(time.Second)
			l.clear(bus.LinkDown)
			pass(time.Second)
		}
		var want []string
		for i := range flaps - 1 {
			want = append(want, fmt.Sprint("can_link_down raised ", 4194306+i), fmt.Sprint("can_link_down cleared ", 4194306+i))
		}
		l.want(append(want, "can_link_down raised 4194311 flapping")...)
		pass(calm)
		l.want("can_link_down cleared 4194311 times=95")
		pass(flapWindow)
		l.raise(bus.LinkDown)
		l.want("can_link_down raised 4194312")
		l.stop()
	})
}

// Flapping must not wear out the flash.
func TestFileIsWrittenAtMostOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := begin(t, dir, 1, nil)
		writes, last := 0, ""
		for range 60 * 20 {
			for i := range 10 {
				l.say("s", bus.SlaveOffline, fmt.Sprint(i), bus.Raised)
			}
			pass(25 * time.Millisecond)
			for i := range 10 {
				l.say("s", bus.SlaveOffline, fmt.Sprint(i), bus.Cleared)
			}
			pass(25 * time.Millisecond)
			if info, err := os.Stat(filepath.Join(statedir.In(dir).Path(), fileName)); err == nil {
				if s := fmt.Sprint(info.Sys()); s != last {
					writes, last = writes+1, s
				}
			}
		}
		if writes == 0 || writes > 12 { // ten alarms flap within seconds, and then nothing changes
			t.Errorf("the file was written %d times in a minute of flapping", writes)
		}
		l.stop()
	})
}

func TestThousandAlarmsArePacedAndNotDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := beginAtBoot(t, t.TempDir(), 1, nil)
		for i := range 1000 {
			l.say("s", bus.SlaveOffline, fmt.Sprint(i), bus.Raised)
		}
		for i := range 100 { // gone again before anybody could be told: told nevertheless
			l.say("s", bus.SlaveOffline, fmt.Sprint(i+900), bus.Cleared)
		}
		if n := len(l.all()); n != burst {
			t.Errorf("%d notes at once, want %d", n, burst)
		}
		pass(10 * time.Second)
		if n := len(l.all()); n < burst+10*rate-1 || n > burst+10*rate+1 {
			t.Errorf("%d notes after ten seconds", n)
		}
		pass(time.Minute)
		open := map[uint64]string{}
		for _, n := range l.all()[1:] {
			if n.State == bus.Raised {
				open[n.ID] = n.Subject
			} else if open[n.ID] == n.Subject {
				delete(open, n.ID)
			} else {
				t.Fatalf("%v was not raised", n)
			}
		}
		if len(l.all()) != 1101 || len(open) != 900 {
			t.Errorf("%d notes, %d raised", len(l.all()), len(open))
		}
		// Momentary things wait in one place and are counted.
		for range 300 {
			l.say("s", RecordsRejected, "", bus.Momentary)
		}
		for range 500 {
			l.say("s", RecordsRejected, "", bus.Momentary)
		}
		pass(time.Minute)
		total := uint64(0)
		for _, n := range l.all()[1101:] {
			total += max(n.Times, 1)
		}
		if total != 800 {
			t.Errorf("%d momentary events, want 800", total)
		}
		l.stop()
	})
}

func TestChangedIsPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []time.Duration
		start := time.Now()
		l := beginAtBoot(t, t.TempDir(), 1, func(c *Config) {
			c.Changed = func() { calls = append(calls, time.Since(start)) }
		})
		for i := range 40 {
			l.say("s", bus.SlaveOffline, fmt.Sprint(i), bus.Raised)
			pass(250 * time.Millisecond)
		}
		pass(time.Hour)
		if !slices.Equal(calls, []time.Duration{0, 5 * time.Second, 10 * time.Second}) {
			t.Errorf("called at %v", calls)
		}
		l.stop()
	})
}

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := begin(t, dir, 1, nil)
		l.raise(bus.PortLost)
		for _, unit := range []string{"still", "well", "removed"} {
			l.say("line", bus.SlaveOffline, unit, bus.Raised)
		}
		l.say("gone", bus.LinkDown, "", bus.Raised)
		began := time.Now()
		pass(time.Minute)
		l.stop()

		l = begin(t, dir, 2, func(c *Config) {
			c.Known = func(source, subject string) bool { return source != "gone" && subject != "removed" }
		})
		if d := l.all()[0].Detail["alarms"]; l.all()[0].Code != Started || fmt.Sprint(d) != "[4194310 4194309 4194308 4194307 4194306]" {
			t.Errorf("first note %v with %v", l.all()[0], d)
		}
		l.want("can_link_down cleared 4194310", "slave_offline cleared 4194309")
		if !l.Doubtful() || len(l.Raised()) != 3 || !l.Raised()[0].Unseen {
			t.Errorf("raised: %+v", l.Raised())
		}
		l.say("line", bus.SlaveOffline, "still", bus.Raised)
		if n := l.all()[0]; !n.Since.Equal(began) {
			t.Errorf("since %v, want %v", n.Since, began)
		}
		l.want("slave_offline raised 4194307 again")
		l.say("line", bus.SlaveOffline, "well", bus.Cleared)
		l.clear(bus.PortLost)
		l.want("slave_offline cleared 4194308", "port_lost cleared 4194306")
		if l.Doubtful() {
			t.Error("nothing is left to be doubted")
		}
		l.say("line", bus.SlaveOffline, "still", bus.Cleared)
		l.raise(bus.PortLost)
		l.want("slave_offline cleared 4194307", "port_lost raised 8388610")
		l.stop()
	})
}

// The disk may come late: what happens before is told once it is there.
func TestReportsBeforeTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := begin(t, dir, 1, nil)
		l.raise(UplinkDown)
		pass(6 * time.Second)
		l.raise(DiskFault)
		l.raise(bus.PortLost)
		l.stop()

		l = begin(t, dir, 0, nil)
		l.raise(DiskFault)
		l.clear(UplinkDown)
		l.say("new", bus.LinkDown, "", bus.Raised)
		pass(time.Hour)
		l.clear(DiskFault)
		l.want()
		l.Begin(2, "gateway", map[string]any{})
		if l.all()[0].Code != Started {
			t.Errorf("first note %v", l.all()[0])
		}
		l.want("uplink_down cleared 4194306", "disk_fault raised 4194307 again", "disk_fault cleared 4194307", "can_link_down raised 8388610")
		if list := l.Raised(); len(list) != 2 || list[0].Code != bus.PortLost || !list[0].Unseen {
			t.Errorf("raised: %+v", list)
		}
		l.stop()
	})
}

func TestDamagedFileIsSetAside(t *testing.T) {
	good := func() string {
		b, err := encode([]Alarm{{ID: 4194306, Code: bus.PortLost, Source: "s"}})
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, damage := range map[string]func(string) string{
		"torn":    func(s string) string { return s[:len(s)-3] },
		"empty":   func(string) string { return "" },
		"bit":     func(s string) string { return strings.Replace(s, "port", "pork", 1) },
		"foreign": func(string) string { return "# a list of alarms\n" },
		"later":   func(s string) string { return strings.Replace(s, "alarms 1", "alarms 2", 1) },
		"longer":  func(s string) string { return s + "\n" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				files := statedir.In(dir)
				bad := damage(good())
				if err := files.Write(fileName, []byte(bad)); err != nil {
					t.Fatal(err)
				}
				l := begin(t, dir, 2, nil)
				if ids := l.all()[0].Detail["alarms"]; fmt.Sprint(ids) != "[]" {
					t.Errorf("alarms that go on: %v", ids)
				}
				l.raise(bus.PortLost)
				l.want("port_lost raised 8388610") // another id
				l.stop()
				if aside, err := files.Read(fileName + badEnd); err != nil || string(aside) != bad {
					t.Errorf("put aside: %q, %v", aside, err)
				}
				if list, err := readFile(files); err != nil || len(list) != 1 {
					t.Errorf("%v %v", list, err)
				}
			})
		})
	}
	t.Run("directory", func(t *testing.T) {
		files := statedir.In(t.TempDir())
		if err := os.MkdirAll(filepath.Join(files.Path(), fileName), 0o700); err != nil {
			t.Fatal(err)
		}
		if _, err := readFile(files); err == nil {
			t.Error("a directory passes for a list")
		}
	})
}

// A disk that does not take the file costs nothing but the file.
func TestFileCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		blocked := filepath.Join(dir, statedir.Name) // a file where the directory has to be
		if err := os.WriteFile(blocked, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		l := begin(t, dir, 1, nil)
		l.raise(bus.PortLost)
		pass(time.Minute)
		l.want("port_lost raised 4194306")
		if err := os.Remove(blocked); err != nil {
			t.Fatal(err)
		}
		pass(retryPause)
		if list, err := readFile(statedir.In(dir)); err != nil || len(list) != 1 {
			t.Errorf("%v %v", list, err)
		}
		l.stop()
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("fieldferry-alarms 1 00000000\n[]"))
	b, err := encode([]Alarm{{ID: 5, Code: "x", Source: "s", Subject: "é\n", Since: time.Unix(1, 2).UTC()}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parse(b)
		if err != nil && list != nil {
			t.Error("a list of a damaged file")
		}
		for i, a := range list {
			if a.ID == 0 || a.ID > maxID || i > 0 && a.ID > list[i-1].ID {
				t.Errorf("id %d at %d", a.ID, i)
			}
		}
	})
}
