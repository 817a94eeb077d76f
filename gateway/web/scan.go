package web

import (
	"context"
	"errors"
	"net/http"
	"time"
)

// Exception is a unit's refusal: it is there.
type Exception struct {
	_ [0]func() // nobody compares them: saves the code for it

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

// scan is a search for units. It goes between the polls of the line: a unit that
// is not there costs one timeout of the line.
type scan struct {
	search
	Unit  int     `json:"unit"` // asked last
	From  int     `json:"from"`
	To    int     `json:"to"`
	Found []found `json:"found"`
}

// found is a unit that has answered.
type found struct {
	_ [0]func() // nobody compares them: saves the code for it

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
	job := &scan{From: in.From, To: in.To, Found: []found{}}
	s.scans.start(s, w, r, job, "scan", "A scan of this line runs already.", func(ctx context.Context, line string) error {
		s.scan(ctx, line, job)
		return nil
	})
}

func (s *Server) scan(ctx context.Context, line string, job *scan) {
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
			job.Found = append(job.Found, found{Unit: unit, Took: took, Answer: answer})
			s.scans.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-time.After(scanPause):
		}
	}
}

// lastScan is GET /api/v1/modbus/{line}/scan.
func (s *Server) lastScan(w http.ResponseWriter, r *http.Request) {
	s.scans.last(s, w, r, &scan{Found: []found{}})
}

// stopScan is DELETE /api/v1/modbus/{line}/scan.
func (s *Server) stopScan(w http.ResponseWriter, r *http.Request) { s.scans.abort(s, w, r) }
