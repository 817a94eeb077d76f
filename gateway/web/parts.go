package web

import (
	"bufio"
	"errors"
	"net/http"
	"time"

	"fieldferry/gateway/live"
)

// snapshot returns the newest snapshot, and answers if there is none yet.
func (s *Server) snapshot(w http.ResponseWriter) *live.Snapshot {
	snap := s.opts.View.Snapshot()
	if snap == nil {
		problem(w, http.StatusServiceUnavailable, "starting", "The gateway is starting.")
	}
	return snap
}

// sources is GET /api/v1/sources.
func (s *Server) sources(w http.ResponseWriter, _ *http.Request) {
	if snap := s.snapshot(w); snap != nil {
		writeJSON(w, map[string]any{"sources": snap.Sources})
	}
}

// alarms is GET /api/v1/alarms.
func (s *Server) alarms(w http.ResponseWriter, _ *http.Request) { writeJSON(w, alarmsOf(s.opts.View)) }

// buffer is GET /api/v1/buffer.
func (s *Server) buffer(w http.ResponseWriter, _ *http.Request) {
	if snap := s.snapshot(w); snap != nil {
		writeJSON(w, struct {
			live.Buffer
			live.Stored
		}{snap.Buffer, s.opts.View.Stored()})
	}
}

// uplink is GET /api/v1/uplink.
func (s *Server) uplink(w http.ResponseWriter, _ *http.Request) {
	if snap := s.snapshot(w); snap != nil {
		writeJSON(w, struct {
			Uplink      live.Uplink       `json:"uplink"`
			Disconnects []live.Disconnect `json:"disconnects"`
			live.Announced
		}{snap.Uplink, s.opts.View.LastDisconnects(), s.opts.View.LastAnnounced()})
	}
}

// plan is GET /api/v1/modbus/{line}/plan.
func (s *Server) plan(w http.ResponseWriter, r *http.Request) {
	if line, ok := s.line(w, r); ok {
		writeJSON(w, line.Plan)
	}
}

// units is GET /api/v1/modbus/{line}/units.
func (s *Server) units(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.line(w, r); !ok {
		return
	}
	if snap := s.snapshot(w); snap != nil {
		for i := range snap.Sources {
			if src := &snap.Sources[i]; src.Name == r.PathValue("line") && src.Modbus != nil {
				writeJSON(w, src.Modbus)
				return
			}
		}
		unknown(w, "Modbus line", r.PathValue("line"))
	}
}

// exchanges is GET /api/v1/modbus/{line}/exchanges.
func (s *Server) exchanges(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.line(w, r); ok {
		writeJSON(w, exchangesOf(s.opts.View, r.PathValue("line")))
	}
}

func (s *Server) line(w http.ResponseWriter, r *http.Request) (live.Line, bool) {
	line, ok := s.opts.View.Line(r.PathValue("line"))
	if !ok {
		unknown(w, "Modbus line", r.PathValue("line"))
	}
	return line, ok
}

// read is POST /api/v1/modbus/{line}/read {"unit","register","address","count"}.
// The line's polls wait for the one exchange.
func (s *Server) read(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.line(w, r); !ok {
		return
	}
	var q Query
	if !readJSON(w, r, &q) {
		return
	}
	if s.opts.Reader == nil {
		problem(w, http.StatusNotImplemented, "read", "This server cannot read registers.")
		return
	}
	begin := time.Now()
	words, err := s.opts.Reader.ReadLine(r.Context(), r.PathValue("line"), q)
	took := float64(time.Since(begin).Microseconds()) / 1000
	var refused *Exception
	switch {
	case errors.As(err, &refused):
		problem(w, http.StatusBadGateway, "exception", err.Error())
		return
	case err != nil:
		problem(w, http.StatusBadGateway, "device", err.Error())
		return
	}
	writeJSON(w, map[string]any{"words": words, "took_ms": took})
}

// candump is GET /api/v1/can/{source}/log: the newest frames as candump -l
// writes them.
func (s *Server) candump(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("source")
	bus, ok := s.opts.View.Bus(name)
	if !ok {
		unknown(w, "CAN bus", name)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Disposition", `attachment; filename="frames.log"`)
	out := bufio.NewWriter(w)
	bus.Log(name, time.Now().Add(-logSpan), func(line []byte) bool {
		_, err := out.Write(line)
		return err == nil
	})
	_ = out.Flush()
}

// logSpan is how far back a downloaded log reaches, if the frames are still there.
const logSpan = 10 * time.Second

// BundleOptions says what goes into a support bundle.
type BundleOptions struct {
	Data bool // the last frames and exchanges too
	Mask bool // addresses and names replaced
}

// bundle is POST /api/v1/bundle {"data","mask"}: the support bundle as .tar.gz.
func (s *Server) bundle(w http.ResponseWriter, r *http.Request) {
	if s.opts.Bundle == nil {
		problem(w, http.StatusNotImplemented, "bundle", "This server makes no support bundle.")
		return
	}
	var o BundleOptions
	if r.ContentLength != 0 && !readJSON(w, r, &o) {
		return
	}
	s.opts.Audit(Audit{Time: time.Now(), Action: "bundle", Who: who(r).Name, From: address(r)})
	h := w.Header()
	h.Set("Content-Type", "application/gzip")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Disposition", `attachment; filename="fieldferry-bundle.tar.gz"`)
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(bundleTime))
	if err := s.opts.Bundle(r.Context(), w, o); err != nil {
		s.log.Warn("the support bundle is not complete", "error", err)
	}
}

// bundleTime is how long a bundle may take to be made and fetched.
const bundleTime = 2 * time.Minute
