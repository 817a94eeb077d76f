package outbox

// Refusals is what the broker does not take now.
type Refusals struct {
	Sources []string // some of whose records wait for a topic that it does not take
	All     bool     // it takes nothing of any source
}

// Refusals may be called from any goroutine.
func (q *Outbox) Refusals() Refusals {
	if r := q.denied.Load(); r != nil {
		return *r
	}
	return Refusals{}
}

// takesFrom notes that the broker takes something of a source.
func (q *Outbox) takesFrom(b *batch) {
	_, known := q.takes[b.source]
	if q.takes[b.source] = b.topic; !known {
		q.noteRefusals()
	}
}

// refuses notes that it does not take what it took last; the topic is put off
// next. A source with several topics, of which one is denied, is still taken.
func (q *Outbox) refuses(b *batch) {
	if q.takes[b.source] == b.topic {
		delete(q.takes, b.source)
	}
}

// noteRefusals is called when what is refused may have changed.
func (q *Outbox) noteRefusals() {
	sources := map[string]bool{}
	for _, h := range q.holds {
		if h.told {
			sources[h.source] = true
		}
	}
	if q.others != nil && q.others.told {
		sources[q.others.source] = true
	}
	r := &Refusals{All: len(sources) > 0 && len(q.takes) == 0}
	for name := range sources {
		r.Sources = append(r.Sources, name)
	}
	q.denied.Store(r)
}
