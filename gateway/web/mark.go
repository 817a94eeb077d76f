package web

import (
	"net/http"
	"strings"
	"sync"
	"time"
)

// Mark says when somebody began, or ceased, to try something, so that whoever
// reads the log or a support bundle later finds the place.
type Mark struct {
	_ [0]func() // nobody compares them: saves the code for it

	State string    `json:"state"` // start, stop, note; empty: there was none
	Note  string    `json:"note,omitempty"`
	Who   string    `json:"who,omitempty"`
	Time  time.Time `json:"time,omitzero"`
	Since time.Time `json:"since,omitzero"` // of a stop: when its start was
}

// maxNote is how many bytes of text a mark takes.
const maxNote = 200

// marks remembers the last mark.
type marks struct {
	mu   sync.Mutex
	last Mark
}

func (m *marks) put(mark Mark) Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	if mark.State == "stop" && m.last.State == "start" {
		mark.Since = m.last.Time
	}
	if mark.State != "note" { // a note stands within
		m.last = mark
	}
	return mark
}

func (m *marks) get() Mark {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// lastMark is GET /api/v1/mark.
func (s *Server) lastMark(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.marks.get()) }

// mark is POST /api/v1/mark {"state","note"}.
func (s *Server) mark(w http.ResponseWriter, r *http.Request) {
	var q struct{ State, Note string }
	if !readJSON(w, r, &q) {
		return
	}
	switch {
	case q.State != "start" && q.State != "stop" && q.State != "note":
		problem(w, http.StatusBadRequest, "state", "Write state as start, stop or note.")
		return
	case len(q.Note) > maxNote:
		problem(w, http.StatusBadRequest, "note", "A note has at most "+itoa(maxNote)+" bytes.")
		return
	}
	m := s.marks.put(Mark{State: q.State, Note: q.Note, Who: who(r).Name, Time: time.Now().UTC()})
	s.log.Info("mark", "state", m.State, "note", m.Note, "who", m.Who)
	s.opts.Audit(Audit{Time: m.Time, Action: "mark", Who: m.Who, From: address(r), Detail: strings.TrimSuffix(m.State+": "+m.Note, ": ")})
	writeJSON(w, m)
}
