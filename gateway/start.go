package gateway

import (
	"crypto/rand"

	"fieldferry/buffer"
)

// maxStored is how many last numbers the note of the start has; a configuration
// with more sources is told about the first ones of the last session only.
const maxStored = 500

// startDetail is what the note of the start says: which life of the gateway
// this is, and how those before it have ended.
func (g *Gateway) startDetail() map[string]any {
	d := map[string]any{"version": g.opts.Version, "life": rand.Text()[:16]}
	list := g.buffer.Endings()
	if len(list) == 0 { // this buffer has no earlier session
		return d
	}
	room := maxStored
	for key, v := range ending(&list[0], &room) {
		d[key] = v
	}
	var earlier []map[string]any
	for i := range list[1:] {
		earlier = append(earlier, ending(&list[1+i], &room))
	}
	if earlier != nil {
		d["earlier"] = earlier
	}
	return d
}

// ending words the end of one session, with at most room last numbers.
func ending(e *buffer.Ending, room *int) map[string]any {
	stored := map[string]uint64{}
	for name, n := range e.Stored {
		if *room > 0 {
			stored[name] = n
			*room--
		}
	}
	previous := "unclean"
	if e.Clean {
		previous = "clean"
	}
	return map[string]any{"previous": previous, "previous_session": e.Session, "stored": stored}
}
