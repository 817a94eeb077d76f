package web

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

// Exception is a unit's refusal: it is there.
type Exception struct {
	Code uint8
	Text string
}

// Error implements error.
func (e *Exception) Error() string { return e.Text }

// Exceptions by which a gateway says that the unit is not there (Modbus
// Application Protocol V1.1b3, section 7).
const gatewayPath, gatewayTarget = 10, 11

// scanAsk is what each unit is asked: one register, which it may refuse.
const scanRegister = "holding"

const (
	firstUnit, lastUnit = 1, 247
	// scanPause is left to the polls of the line between two questions.
	scanPause = 50 * time.Millisecond
)

// scans are the searches for units that run, or ran last, by line.
type scans struct {
	mu   sync.Mutex
	list map[string]*scan
	all  sync.WaitGroup
}

// scan is one search. It goes between the polls of the line: a unit that is not
// there costs one timeout of the line.
type scan struct {
	Running bool      `json:"running"`
	Aborted bool      `json:"aborted,omitempty"`
	Began   time.Time `json:"began"`
	By      string    `json:"by"`
	Unit    int       `json:"unit"` // asked last
	From    int       `json:"from"`
	To      int       `json:"to"`
	Found   []found   `json:"found"`
	Error   string    `json:"error,omitempty"` // why it ended before its time

	stop context.CancelFunc
}

// found is a unit that has answered.
type found struct {
	Unit   int     `json:"unit"`
	Took   float64 `json:"took_ms"`
	Answer string  `json:"answer"`
}

// startScan is POST /api/v1/modbus/{line}/scan {"from","to"}.
func (s *Server) startScan(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.line(w, r); !ok {
		return
	}
	in := struct{ From, To int }{firstUnit, lastUnit}
	if r.ContentLength != 0 && !readJSON(w, r, &in) {
		return
	}
	if in.From < 0 || in.To > 255 || in.From > in.To {
		problem(w, http.StatusUnprocessableEntity, "units", "Write from and to as unit ids, 0 to 255.")
		return
	}
	if s.opts.Reader == nil {
		problem(w, http.StatusNotImplemented, "read", "This server cannot read registers.")
		return
	}
	line := r.PathValue("line")
	s.scans.mu.Lock()
	defer s.scans.mu.Unlock()
	if last := s.scans.list[line]; last != nil && last.Running {
		problem(w, http.StatusConflict, "running", "A scan of this line runs already.")
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	job := &scan{Running: true, Began: time.Now().UTC(), By: who(r).Name, From: in.From, To: in.To, Found: []found{}, stop: stop}
	if s.scans.list == nil {
		s.scans.list = map[string]*scan{}
	}
	s.scans.list[line] = job
	s.opts.Audit(Audit{Time: time.Now(), Action: "scan", Who: who(r).Name, From: address(r), Detail: line})
	s.scans.all.Go(func() { s.scan(ctx, line, job) })
	writeStatus(w, http.StatusAccepted, job)
}

func (s *Server) scan(ctx context.Context, line string, job *scan) {
	defer job.stop()
	for unit := job.From; unit <= job.To && ctx.Err() == nil; unit++ {
		s.scans.mu.Lock()
		job.Unit = unit
		s.scans.mu.Unlock()
		begin := time.Now()
		_, err := s.opts.Reader.ReadLine(ctx, line, Query{Unit: uint8(unit), Register: scanRegister, Count: 1})
		took := float64(time.Since(begin).Microseconds()) / 1000
		var refused *Exception
		answer := "answers"
		switch {
		case errors.As(err, &refused) && refused.Code != gatewayPath && refused.Code != gatewayTarget:
			answer = refused.Text
		case err != nil:
			answer = ""
		}
		if answer != "" {
			s.scans.mu.Lock()
			job.Found = append(job.Found, found{unit, took, answer})
			s.scans.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(scanPause):
		}
	}
	s.scans.mu.Lock()
	defer s.scans.mu.Unlock()
	job.Running, job.Aborted = false, ctx.Err() != nil
}

// lastScan is GET /api/v1/modbus/{line}/scan.
func (s *Server) lastScan(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.line(w, r); !ok {
		return
	}
	s.scans.mu.Lock()
	defer s.scans.mu.Unlock()
	job := s.scans.list[r.PathValue("line")]
	if job == nil {
		job = &scan{Found: []found{}} // nobody has asked for one yet
	}
	writeJSON(w, job)
}

// stopScan is DELETE /api/v1/modbus/{line}/scan.
func (s *Server) stopScan(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.line(w, r); !ok {
		return
	}
	s.scans.mu.Lock()
	if job := s.scans.list[r.PathValue("line")]; job != nil {
		job.stop()
	}
	s.scans.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}

// end stops all scans and waits for them.
func (s *scans) end() {
	s.mu.Lock()
	for _, job := range s.list {
		job.stop()
	}
	s.mu.Unlock()
	s.all.Wait()
}
