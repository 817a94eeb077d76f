package gateway

import (
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/uplink"
)

// A broker that acknowledges nothing has an alarm from 15 s on, which lasts while
// connections to it come and go, and until it acknowledges something.
func TestMuteAlarm(t *testing.T) {
	withBench(t, "", func(b *bench) {
		var want []string
		for _, s := range []struct {
			uplink.Stats
			events []string
		}{
			{uplink.Stats{Connected: true, Unanswered: 14 * time.Second}, nil},
			{uplink.Stats{Connected: false, Unanswered: 20 * time.Second}, nil},
			{uplink.Stats{Connected: true, Unanswered: 15 * time.Second}, []string{"gateway uplink_mute raised"}},
			{uplink.Stats{Connected: false, Unanswered: 60 * time.Second}, nil},
			{uplink.Stats{Connected: true, Unanswered: 61 * time.Second}, nil},
			{uplink.Stats{Connected: true, Unanswered: time.Second}, []string{"gateway uplink_mute cleared"}},
		} {
			b.h.unanswered(&s.Stats)
			synctest.Wait()
			want = append(want, s.events...)
			wantEvents(t, b.buffer, want...)
		}
	})
}
