package alarm

import (
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus"
)

// What is shown of a condition that lasts is what was said of it last; what was
// said when it began is in the stream.
func TestDetailIsTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := begin(t, t.TempDir(), 1, nil)
		for i := range 3 {
			l.Report("s", bus.Event{Time: time.Now(), Code: bus.PortLost, State: bus.Raised, Detail: map[string]any{"error": i}})
			pass(time.Second)
		}
		l.raise(bus.PortLost) // has nothing to say
		notes, now := l.all(), l.Raised()
		if len(notes) != 2 || notes[1].Detail["error"] != 0 || len(now) != 1 || now[0].Detail["error"] != 2 {
			t.Errorf("in the stream %+v, shown %+v", notes, now)
		}
		l.stop()
	})
}
