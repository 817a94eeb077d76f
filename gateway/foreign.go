package gateway

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"fieldferry/gateway/alarm"
)

// foreign is a status message at the gateway's topic that is not its own: the
// last will of an earlier connection that came late, over a bridge or from
// another broker of a cluster, or one of another gateway with the same id.
type foreign struct {
	_ [0]func() // nobody compares them: saves the code for it

	State   string `json:"state"`
	Session uint64 `json:"session"`
}

// will reports whether it is the last will of a connection of this life: the
// broker publishes it when it stops, or later than the next connection.
func (f *foreign) will(session uint64) bool { return f.State == "offline" && f.Session == session }

// How foreign messages are answered: at once, and then less and less often, as
// another gateway would answer our answer.
const (
	firstAnswer = 10 * time.Second
	lastAnswer  = 10 * time.Minute
	manyAnswers = 4 // without a pause in between, and it is another gateway
)

// statusSeen is called with every message at the status topic.
func (g *Gateway) statusSeen(payload []byte) {
	var f foreign
	if err := json.Unmarshal(payload, &f); err == nil && f.State == "online" && f.Session == g.buffer.Stats().Session {
		return
	}
	select {
	case g.foreign <- f:
	default: // one is enough
	}
}

// contradiction is the pace of the answers.
type contradiction struct {
	answers int
	pause   time.Duration // after the last one
	last    time.Time
}

// take says whether a message is answered now.
func (c *contradiction) take(now time.Time) bool {
	if c.answers > 0 && now.Sub(c.last) < c.pause {
		return false
	}
	c.pause = min(max(2*c.pause, firstAnswer), lastAnswer)
	c.answers, c.last = c.answers+1, now
	return true
}

// many says that it is no message that came late.
func (c *contradiction) many() bool { return c.answers >= manyAnswers }

// over forgets the answers when there was no need of one for long enough, and
// says whether there had been any.
func (c *contradiction) over(now time.Time) bool {
	if c.answers == 0 || now.Sub(c.last) < 3*c.pause {
		return false
	}
	*c = contradiction{}
	return true
}

// keepStatus puts the status message right when another one has taken its
// place, until ctx ends. A message that comes in the pause is answered after it.
func (g *Gateway) keepStatus(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var c contradiction
	for {
		var waiting chan foreign // nil in the pause
		if c.answers == 0 || time.Since(c.last) >= c.pause {
			waiting = g.foreign
		}
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			if c.over(now) {
				g.self.clear(alarm.StatusContested, nil)
			}
		case f := <-waiting:
			if !c.take(time.Now()) {
				continue
			}
			level, own := slog.LevelWarn, f.will(g.buffer.Stats().Session)
			if own {
				level = slog.LevelDebug
			}
			g.log.Log(ctx, level, "another status message was at the gateway's topic; it is put right", "state", f.State, "session", f.Session)
			g.uplink.Announce(g.online)
			if c.many() && !own {
				g.self.raise(alarm.StatusContested, map[string]any{"state": f.State, "session": f.Session})
			}
		}
	}
}
