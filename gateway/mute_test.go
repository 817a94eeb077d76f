package gateway

import (
	"testing"
	"testing/synctest"
	"time"
)

// A broker that acknowledges nothing has an alarm from 15 s on, which lasts while
// connections to it come and go, and until it acknowledges something.
func TestMuteAlarm(t *testing.T) {
	withBench(t, "", func(b *bench) {
		var want []string
		for _, s := range []struct {
			unanswered time.Duration
			server     string
			events     []string
		}{
			{14 * time.Second, "mqtt://a", nil},
			{20 * time.Second, "", nil},
			{15 * time.Second, "mqtt://a", []string{"gateway uplink_mute raised"}},
			{60 * time.Second, "", nil},
			{61 * time.Second, "mqtt://a", nil},
			{time.Second, "mqtt://a", []string{"gateway uplink_mute cleared"}},
		} {
			b.h.unanswered(s.unanswered, s.server)
			synctest.Wait()
			want = append(want, s.events...)
			wantEvents(t, b.buffer, want...)
		}
	})
}
