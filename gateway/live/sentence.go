package live

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// judge says how the gateway fares: in one word, and as a person would say it.
// The gravest thing comes first.
func (s *Snapshot) judge() (State, string) {
	waiting := counted(s.Buffer.Records, "record") + " " + verb(s.Buffer.Records, "waits", "wait") + " in the buffer"
	switch {
	case s.Session == 0:
		return Starting, "Starting: the disk of the buffer is not there yet; records wait in memory."
	case s.full() && (s.whole < lately || !s.Uplink.Takes() || len(s.Uplink.Held) > 0):
		return Losing, "The buffer is full: the gateway drops records and says which." + s.why()
	case s.Uplink.Denied:
		return Outage, "The broker does not let the gateway publish; " + waiting + s.fullIn() + "." + s.inMemory()
	case !s.Uplink.Connected:
		return Outage, "No connection to the broker" + since(s.Uplink.Since, s.Taken) + "; " + waiting + s.fullIn() + "." + s.inMemory()
	case s.Uplink.Mute():
		return Outage, "The broker is connected and has acknowledged nothing for " + Span(s.Uplink.Unanswered) + "; " + waiting + s.fullIn() + "." + s.inMemory()
	case len(s.Uplink.Held) > 0:
		return Attention, "The broker does not take " + s.denied() + "; " + waiting + s.fullIn() + "." + s.inMemory()
	case s.Uplink.Backlog > 0:
		return CatchingUp, "Catching up after an outage: " + counted(s.Uplink.Backlog, "record") + " left" + s.doneIn() + ". Live values go out at once." + s.inMemory()
	case s.Buffer.Fault != "":
		return Attention, "Everything is delivered, but the disk does not take records: " + s.Buffer.Fault + "."
	}
	if bad := s.failing(); bad != "" {
		return Attention, bad
	}
	if s.full() {
		return Attention, "Everything that was kept is delivered. The buffer was full, and records were lost until " + Span(s.whole.Seconds()) + " ago."
	}
	for _, a := range s.Alarms {
		if a.IsError() {
			return Attention, "Everything that is read is delivered; " + s.tell(a) + andMore(len(s.Alarms), "alarm") + "."
		}
	}
	if len(s.buses()) == 0 {
		return OK, "Connected; the configuration has no source."
	}
	if none := s.quiet(Silent); len(none) > 0 {
		return OK, "Connected; no frame has come from " + strings.Join(none, ", ") + " since the start." + s.warning()
	}
	if n := s.Buffer.LostBy["rejected"]; n > 0 {
		return OK, "Connected, and " + s.sources() + "; the broker has rejected " + counted(n, "record") + " since the start." + s.warning()
	}
	return OK, "Everything works: " + s.sources() + ", and the broker acknowledges every record." + s.warning()
}

// tell is an alarm in the middle of a sentence. One topic of several is not "the
// broker does not let the gateway publish".
func (s *Snapshot) tell(a Alarm) string {
	if a.Code == "uplink_denied" {
		return "the broker does not take " + s.denied()
	}
	return lower(a.Title) + of(a)
}

// denied names what the broker does not take.
func (s *Snapshot) denied() string {
	list := s.Uplink.DeniedTopics
	if len(list) == 0 { // for a moment: the alarm comes next
		return "some topics"
	}
	if n := uint64(len(list) - 1); n > 0 {
		return list[0] + " and " + counted(n, "more topic")
	}
	return list[0]
}

// warning names the newest of the alarms that do not keep records from being
// delivered, which an older one would hide, and says how many more there are;
// empty: there is none.
func (s *Snapshot) warning() string {
	var newest *Alarm
	n := 0
	for i := range s.Alarms {
		a := &s.Alarms[i]
		if a.Severity != "warning" {
			continue
		}
		if n++; newest == nil || a.Since.After(newest.Since) {
			newest = a
		}
	}
	if newest == nil {
		return ""
	}
	return " Warning: " + lower(newest.Title) + of(*newest) + andMore(n, "warning") + "."
}

// andMore says that one of n is named.
func andMore(n int, noun string) string {
	if n < 2 {
		return ""
	}
	return " and " + counted(uint64(n-1), "more "+noun)
}

// inMemory says, beside an outage, that the disk is of no help.
func (s *Snapshot) inMemory() string {
	if s.Buffer.Fault == "" {
		return ""
	}
	return " The disk does not take records: new ones wait in memory, and are lost if power fails or memory is full."
}

// lately is how long ago the last loss may be while the gateway, connected again,
// is said to lose records. The alarm stays for a minute. In an outage the buffer is
// full until it ends: records go by the segment, with pauses between.
const lately = 5 * time.Second

// full says that the buffer has no room, or had none a moment ago.
func (s *Snapshot) full() bool { return s.raised("buffer_evicting") || s.raised("memory_full") }

func (s *Snapshot) raised(code string) bool {
	for _, a := range s.Alarms {
		if a.Code == code {
			return true
		}
	}
	return false
}

// why names what else is wrong while records are lost.
func (s *Snapshot) why() string {
	switch {
	case !s.Uplink.Connected:
		return " There is no connection to the broker" + since(s.Uplink.Since, s.Taken) + "."
	case s.Uplink.Mute():
		return " The broker has acknowledged nothing for " + Span(s.Uplink.Unanswered) + "."
	}
	return ""
}

func (s *Snapshot) fullIn() string {
	switch {
	case s.Buffer.FullIn > 0:
		return ", full in about " + Span(s.Buffer.FullIn)
	case s.Buffer.FullIn == 0 || s.Buffer.Percent >= 100: // nothing is lost yet
		return ", which is full"
	}
	return ""
}

func (s *Snapshot) doneIn() string {
	if s.Uplink.DoneIn < 0 {
		return ""
	}
	return ", done in about " + Span(s.Uplink.DoneIn)
}

// buses are the sources without the gateway's own stream.
func (s *Snapshot) buses() (list []*Source) {
	for i := range s.Sources {
		if s.Sources[i].Kind != "gateway" {
			list = append(list, &s.Sources[i])
		}
	}
	return list
}

func (s *Snapshot) sources() string {
	all := s.buses()
	if ended := s.quiet(Ended); len(ended) > 0 {
		over := "the log of " + strings.Join(ended, ", ") + " has ended"
		if len(ended) < len(all) {
			over += ", all other sources are read"
		}
		return over
	}
	if len(all) == 1 {
		return all[0].Name + " is read"
	}
	return fmt.Sprintf("all %d sources are read", len(all))
}

// quiet lists the CAN buses in a state, if it is Silent only those that have brought
// nothing at all: that may be right, and is not "everything works".
func (s *Snapshot) quiet(state SourceState) (names []string) {
	for _, src := range s.buses() {
		if src.Kind == "can" && src.State == state && (state == Ended || src.ReadAge < 0) {
			names = append(names, src.Name)
		}
	}
	return names
}

// failing says which sources do not deliver, empty if all do.
func (s *Snapshot) failing() string {
	var bad []string
	all := s.buses()
	for _, src := range all {
		if src.State == Down || src.State == Partial {
			bad = append(bad, src.Name+": "+src.Word)
		}
	}
	switch {
	case len(bad) == 0:
		return ""
	case len(all) == 1:
		return "Everything that is read is delivered; " + bad[0] + "."
	}
	return fmt.Sprintf("%d of %d sources are read without trouble; %s.", len(all)-len(bad), len(all), strings.Join(bad, "; "))
}

func of(a Alarm) string {
	switch {
	case a.Subject != "":
		return " (" + a.Source + ", " + a.Subject + ")"
	case a.Source != "gateway":
		return " (" + a.Source + ")"
	}
	return ""
}

func lower(s string) string {
	if s == "" || strings.HasPrefix(s, "CAN") || strings.HasPrefix(s, "Modbus") {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

func since(t, now time.Time) string {
	if t.Year() <= 1 || now.Sub(t) < time.Second {
		return ""
	}
	return " for " + Span(now.Sub(t).Seconds())
}

func verb(n uint64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

func counted(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Thousands(n) + " " + noun + "s"
}

// Thousands is n with commas, for people: 211,588.
func Thousands(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// Span is a time in seconds in the two largest units a person would use: 40 s,
// 5 min 41 s, 2 h 32 min, 3 d 4 h.
func Span(seconds float64) string {
	switch n := int64(seconds + 0.5); {
	case seconds < 0:
		return "unknown"
	case seconds < 0.95:
		return strconv.FormatFloat(seconds, 'f', 1, 64) + " s"
	case n < 60:
		return fmt.Sprintf("%d s", n)
	case n < 3600:
		return two(n/60, "min", n%60, "s")
	case n < 86400:
		return two(n/3600, "h", n%3600/60, "min")
	default:
		return two(n/86400, "d", n%86400/3600, "h")
	}
}

func two(a int64, unit string, b int64, small string) string {
	if b == 0 {
		return fmt.Sprintf("%d %s", a, unit)
	}
	return fmt.Sprintf("%d %s %d %s", a, unit, b, small)
}
