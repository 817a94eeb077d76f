package web

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"fieldferry/gateway/live"
)

// usualWatch is how long a configuration is tried unless the request says so.
const usualWatch = 10 * time.Minute

// changer returns what puts configurations in place, or answers that there is
// nothing.
func (s *Server) changer(w http.ResponseWriter) Changer {
	if s.opts.Changer == nil {
		problem(w, http.StatusNotImplemented, "config", "This server does not change the configuration.")
	}
	return s.opts.Changer
}

// watch reads the query watch, such as 10m.
func watch(w http.ResponseWriter, r *http.Request) (d time.Duration, ok bool) {
	text := r.URL.Query().Get("watch")
	if text == "" {
		return usualWatch, true
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		problem(w, http.StatusBadRequest, "watch", "Write watch as a time such as 10m; 0 for none.")
		return 0, false
	}
	return d, true
}

// applyConfig is POST /api/v1/config/apply?watch=TIME&keep=true, with the text as
// the body. If-Match is the ETag of what it was made from.
func (s *Server) applyConfig(w http.ResponseWriter, r *http.Request) {
	c := s.changer(w)
	if c == nil {
		return
	}
	time, ok := watch(w, r)
	if !ok {
		return
	}
	tag, err := strconv.Unquote(r.Header.Get("If-Match"))
	if err != nil {
		problem(w, http.StatusPreconditionRequired, "if_match", "Send If-Match with the ETag of GET /api/v1/config that the change was made from, so that nobody's change is lost.")
		return
	}
	text, err := io.ReadAll(r.Body)
	if err != nil {
		problem(w, http.StatusRequestEntityTooLarge, "size", "The text is larger than "+itoa(maxBody)+" bytes.")
		return
	}
	a, err := c.ApplyConfig(r.Context(), "web:"+who(r).Name, live.ConfigCandidate{Text: text, Tag: tag, Watch: time, Keep: r.URL.Query().Get("keep") == "true"})
	attempted(w, a, err)
}

// attempted answers with what a change of the configuration has come to: it is
// on its way or confirmed (202), made from what is not there any more (412), not
// possible now (409), or wrong (422, with the problems).
func attempted(w http.ResponseWriter, a live.ConfigAttempt, err error) {
	switch {
	case err != nil:
		problem(w, http.StatusConflict, "config", sentence(err.Error()))
	case a.Conflict:
		problem(w, http.StatusPreconditionFailed, "changed", sentence(a.Why))
	case a.State == "rejected":
		refused(w, a)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		_ = json.NewEncoder(w).Encode(a)
	}
}

// sentence is an error as a person reads it.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// refused is a problem with what is wrong on which line.
func refused(w http.ResponseWriter, a live.ConfigAttempt) {
	detail := sentence(a.Why)
	if detail == "" {
		detail = "The configuration has errors; the one that runs is kept."
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusUnprocessableEntity)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "/api/problems#rejected", "title": http.StatusText(http.StatusUnprocessableEntity), "status": http.StatusUnprocessableEntity, "detail": detail,
		"problems": append([]ConfigProblem{}, a.Problems...),
	})
}

// keepConfig is POST /api/v1/config/keep.
func (s *Server) keepConfig(w http.ResponseWriter, r *http.Request) {
	c := s.changer(w)
	if c == nil {
		return
	}
	if err := c.KeepConfig(r.Context(), "web:"+who(r).Name); err != nil {
		problem(w, http.StatusConflict, "config", sentence(err.Error()))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// rollBackConfig is POST /api/v1/config/rollback?watch=TIME.
func (s *Server) rollBackConfig(w http.ResponseWriter, r *http.Request) {
	c := s.changer(w)
	if c == nil {
		return
	}
	time, ok := watch(w, r)
	if !ok {
		return
	}
	a, err := c.RollBackConfig(r.Context(), "web:"+who(r).Name, time)
	attempted(w, a, err)
}

// configAttempt is GET /api/v1/config/attempt.
func (s *Server) configAttempt(w http.ResponseWriter, _ *http.Request) {
	if c := s.changer(w); c != nil {
		writeJSON(w, map[string]*live.ConfigAttempt{"attempt": c.Attempted()})
	}
}
