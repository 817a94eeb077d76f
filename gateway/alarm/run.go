package alarm

import (
	"context"
	"time"
)

const (
	// changedPause is how often Changed is called at most.
	changedPause = 5 * time.Second
	// lastWrite is how long the end waits for the disk.
	lastWrite = 2 * time.Second
	// maxListed is how many alarms the note of the start names; beyond that it
	// names none.
	maxListed = 500
)

// Begin reads what the last life of the gateway has left, and lets notes be
// told from now on, under ids of this session, which must not be 0. The first
// note is Started in the stream of source, with detail and the ids of the
// alarms that go on. Begin is called once.
func (s *Set) Begin(session uint64, source string, detail map[string]any) {
	list, err := readFile(s.cfg.Files)
	if err != nil {
		s.log.Error("the list of raised alarms was lost; what still holds is raised again under new ids", "file", fileName, "error", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.next = session*idsPerSession + 1
	if len(list) > 0 { // of a buffer that was removed by hand
		s.next = max(s.next, list[0].ID+1)
	}
	waiting := s.queue
	s.queue = nil
	s.enqueue(&entry{key: key{source, Started, ""}, row: s.row(Started), event: 1, up: report{time.Now(), now, detail}})
	ids := []uint64{}
	for i := range list {
		if x := s.entries[list[i].key()]; x != nil && x.id != 0 {
			s.superseded(&list[i], now)
		} else {
			ids = append(ids, list[i].ID)
			s.restore(&list[i], x, now)
		}
	}
	if len(ids) <= maxListed {
		detail["alarms"] = ids
	}
	s.queue = append(s.queue, waiting...)
	s.filled, s.news = now, now
	s.flush(now)
	s.wake()
}

// superseded clears an alarm that had been cleared before the start, and
// raised again under another id: the note of that may be lost.
func (s *Set) superseded(a *Alarm, now time.Duration) {
	why := map[string]any{"reason": "it was raised again under another id"}
	s.enqueue(&entry{key: a.key(), row: s.row(a.Code), id: a.ID, began: a.Since, clear: true, down: report{time.Now(), now, why}})
}

// restore takes over an alarm of before the start. x is what was reported of
// it since; nil: nothing.
func (s *Set) restore(a *Alarm, x *entry, now time.Duration) {
	known, declared := x != nil, s.rows[a.Code] != nil
	if !known {
		x = &entry{key: a.key(), row: s.row(a.Code)}
		s.entries[x.key] = x
	}
	x.id, x.began = a.ID, a.Since
	s.counts[a.Code]++ // else it would be raised now, and never have been
	x.times = max(x.times, 1)
	x.hidden = false
	delete(s.timed, x)
	switch {
	case known && x.holds:
		x.raise = true
		s.enqueue(x)
	case known:
		s.settle(x, now)
	case !declared || !s.cfg.Known(a.Source, a.Subject):
		x.down = report{time.Now(), now, map[string]any{"reason": "it is no longer configured"}}
		s.settle(x, now)
	default:
		x.left = true
		s.unseen++
	}
}

// Run tells what is due until ctx ends, then what still waits, and stores
// what has to outlive the process.
func (s *Set) Run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			s.end()
			return
		case <-s.kick:
		case <-timer.C:
		}
		timer.Reset(s.step())
	}
}

// step does what is due and returns how long nothing will be.
func (s *Set) step() time.Duration {
	s.mu.Lock()
	now := s.now()
	next := now + time.Hour
	for x, at := range s.timed {
		if at <= now {
			s.settle(x, now)
		} else {
			next = min(next, at)
		}
	}
	s.flush(now)
	if len(s.queue) > 0 && s.next != 0 {
		next = min(next, now+time.Second/rate)
	}
	call := false
	if s.news > 0 {
		if at := max(s.news, s.said+changedPause); s.said > 0 && at > now {
			next = min(next, at)
		} else {
			call = s.cfg.Changed != nil
			s.news, s.said = 0, now
		}
	}
	if at := s.save(now); at > 0 {
		next = min(next, at)
	}
	lines := s.lines
	s.lines = nil
	s.mu.Unlock()
	for _, l := range lines {
		l.write(s.log)
	}
	if call {
		s.cfg.Changed()
	}
	return next - now
}

// end tells everything at once, and waits a little for the disk.
func (s *Set) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.tokens = max(s.tokens, float64(2*len(s.queue)))
	s.flush(now)
	limit := time.NewTimer(lastWrite)
	defer limit.Stop()
	f := &s.file
	f.gone, f.next = nil, 0 // the end of the buffer stores the notes
	f.due = min(f.due, 1)
	for range 2 { // a write under way, and another one
		s.save(now)
		written := f.writing
		if written == nil {
			return
		}
		s.mu.Unlock()
		select {
		case <-written:
		case <-limit.C:
		}
		s.mu.Lock()
		f.next = 0
	}
}
