package web

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"fieldferry/gateway/live"
)

// status is GET /api/v1/status.
func (s *Server) status(w http.ResponseWriter, _ *http.Request) {
	snap := s.opts.View.Snapshot()
	if snap == nil {
		problem(w, http.StatusServiceUnavailable, "starting", "The gateway is starting.")
		return
	}
	writeJSON(w, snap)
}

// values is GET /api/v1/sources/{source}/values.
func (s *Server) values(w http.ResponseWriter, r *http.Request) {
	source := r.PathValue("source")
	_, line := s.opts.View.Line(source)
	if _, bus := s.opts.View.Bus(source); !line && !bus {
		unknown(w, "source", source)
		return
	}
	writeJSON(w, map[string]any{"values": pointRows(s.opts.View, source)})
}

// frames is GET /api/v1/can/{source}/frames.
func (s *Server) frames(w http.ResponseWriter, r *http.Request) {
	bus, ok := s.opts.View.Bus(r.PathValue("source"))
	if !ok {
		unknown(w, "CAN bus", r.PathValue("source"))
		return
	}
	table, others := bus.Table()
	writeJSON(w, map[string]any{"frames": table, "others": others})
}

// rolls is GET /api/v1/can/{source}/roll: the newest 500 frames.
func (s *Server) rolls(w http.ResponseWriter, r *http.Request) {
	source := r.PathValue("source")
	if _, ok := s.opts.View.Bus(source); !ok {
		unknown(w, "CAN bus", source)
		return
	}
	writeJSON(w, (&rollFeed{view: s.opts.View, source: source}).since(1))
}

// signals is GET /api/v1/can/{source}/frames/{id}.
func (s *Server) signals(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.opts.View.Bus(r.PathValue("source")); !ok {
		unknown(w, "CAN bus", r.PathValue("source"))
		return
	}
	reply := signalsOf(s.opts.View, r.PathValue("source"), r.PathValue("id"))
	if reply == nil {
		unknown(w, "frame", r.PathValue("id"))
		return
	}
	writeJSON(w, reply)
}

func unknown(w http.ResponseWriter, what, name string) {
	problem(w, http.StatusNotFound, "unknown", "There is no "+what+" "+strconv.Quote(name)+".")
}

// course is one figure of GET /api/v1/history. A gap is null.
type course struct {
	Name string       `json:"name"`
	From time.Time    `json:"from"`
	Step float64      `json:"step_s"`
	Min  []*jsonFloat `json:"min"`
	Max  []*jsonFloat `json:"max"`
	Last []*jsonFloat `json:"last"`
}

type jsonFloat float32

// history is GET /api/v1/history?figure=in&figure=acked&span=hour|day.
func (s *Server) history(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	span := q.Get("span")
	if span != "" && span != "hour" && span != "day" {
		problem(w, http.StatusBadRequest, "span", "Write span as hour or day.")
		return
	}
	out := []course{}
	for _, name := range q["figure"] {
		c, from := s.opts.View.Course(name, span == "day")
		out = append(out, courseOf(name, c, from))
	}
	writeJSON(w, map[string]any{"figures": s.opts.View.Figures(), "courses": out})
}

func courseOf(name string, c live.Course, from time.Time) course {
	out := course{Name: name, From: from.UTC(), Step: c.Step.Seconds(), Min: []*jsonFloat{}, Max: []*jsonFloat{}, Last: []*jsonFloat{}}
	for _, step := range c.Steps {
		out.Min = append(out.Min, orNull(step.Min))
		out.Max = append(out.Max, orNull(step.Max))
		out.Last = append(out.Last, orNull(step.Last))
	}
	return out
}

func orNull(v float32) *jsonFloat {
	if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return (*jsonFloat)(&v)
}

// healthz is GET /healthz: whether the daemon works. An outage of the broker is
// none of the daemon: a supervisor must not restart it for that.
func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	snap := s.opts.View.Snapshot()
	if unseen(snap) {
		problem(w, http.StatusServiceUnavailable, "stuck", "The gateway does not look after its parts.")
		return
	}
	writeJSON(w, map[string]any{"ok": true, "state": snap.State})
}

// unseen says that nobody has looked for so long that the picture says nothing.
func unseen(snap *live.Snapshot) bool {
	return snap == nil || time.Since(snap.Taken) > time.Minute && snap.Clock.Trusted
}

// readyz is GET /readyz: whether records are taken to disk. What is on its way to
// the broker is another question.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	snap := s.opts.View.Snapshot()
	switch {
	case unseen(snap):
		s.healthz(w, r)
	case snap.Session == 0:
		notReady(w, "The buffer is not open", snap)
	case snap.Buffer.Fault != "":
		notReady(w, "The buffer takes no records to disk", snap)
	default:
		writeJSON(w, map[string]any{"ok": true})
	}
}

func notReady(w http.ResponseWriter, what string, snap *live.Snapshot) {
	why := "."
	if f := snap.Buffer.Fault; f != "" {
		why = ": " + f
	}
	problem(w, http.StatusServiceUnavailable, "buffer", what+why)
}
