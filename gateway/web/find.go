package web

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"
)

// What a line is tried with unless a request says otherwise: the rates by how
// often they are met.
var (
	findRates    = []int{9600, 19200, 115200, 38400, 4800, 2400, 57600}
	findParities = []string{"N", "E", "O"}
)

const (
	maxFindUnits = 4
	maxFindRates = 8
	minRate      = 1200
	maxRate      = 1_000_000
)

// find is a search for the settings of a line, which is not polled meanwhile.
type find struct {
	search
	Asked int       `json:"asked"`
	Of    int       `json:"of"`
	Now   *Try      `json:"now,omitempty"` // asked last
	Found []settled `json:"found"`
}

// settled is a setting in which a unit has answered, or sent what cannot be read.
type settled struct {
	_ [0]func() // nobody compares them: saves the code for it

	Try
	Took   float64 `json:"took_ms"`
	Answer string  `json:"answer"`
}

// findAsk is the body of a request; what is left out is chosen by the server.
type findAsk struct {
	Units    []uint8  `json:"units"`
	Rates    []int    `json:"baud_rates"`
	Parities []string `json:"parities"`
	StopBits int      `json:"stop_bits"`
}

// tries are the questions of a request, mode by mode; nil: it is not in bounds.
func (a *findAsk) tries() (list []Try) {
	if len(a.Rates) == 0 {
		a.Rates = findRates
	}
	if len(a.Parities) == 0 {
		a.Parities = findParities
	}
	if a.StopBits == 0 {
		a.StopBits = 1
	}
	wrong := func(p string) bool { return !slices.Contains(findParities, p) }
	if len(a.Units) == 0 || len(a.Units) > maxFindUnits || len(a.Rates) > maxFindRates || len(a.Parities) > len(findParities) ||
		slices.ContainsFunc(a.Parities, wrong) || a.StopBits < 1 || a.StopBits > 2 {
		return nil
	}
	for _, rate := range a.Rates {
		for _, parity := range a.Parities {
			for _, unit := range a.Units {
				if unit < firstUnit || unit > lastUnit || rate < minRate || rate > maxRate {
					return nil
				}
				list = append(list, Try{rate, parity, a.StopBits, unit})
			}
		}
	}
	return list
}

// startFind is POST /api/v1/modbus/{line}/find
// {"units","baud_rates","parities","stop_bits"}.
func (s *Server) startFind(w http.ResponseWriter, r *http.Request) {
	if _, ok := s.line(w, r); !ok {
		return
	}
	var in findAsk
	if !readJSON(w, r, &in) {
		return
	}
	tries := in.tries()
	if tries == nil {
		problem(w, http.StatusUnprocessableEntity, "settings", "Write one to four units (1 to 247), at most eight baud rates (1200 to 1000000), parities N, E or O, and stop bits 1 or 2.")
		return
	}
	job := &find{Of: len(tries), Found: []settled{}}
	s.finds.start(s, w, r, job, "find", "A search on this line runs already.", func(ctx context.Context, line string) error {
		return s.find(ctx, line, job, tries)
	})
}

func (s *Server) find(ctx context.Context, line string, job *find, tries []Try) error {
	return s.opts.Reader.FindLine(ctx, line, tries, func(t Try, took time.Duration, err error) {
		s.finds.mu.Lock()
		defer s.finds.mu.Unlock()
		job.Asked++
		job.Now = &t
		var refused *Exception
		answer := "answers"
		switch {
		case errors.As(err, &refused):
			answer = refused.Text
		case err != nil:
			return
		}
		job.Found = append(job.Found, settled{Try: t, Took: float64(took.Microseconds()) / 1000, Answer: answer})
	})
}

// lastFind is GET /api/v1/modbus/{line}/find.
func (s *Server) lastFind(w http.ResponseWriter, r *http.Request) {
	s.finds.last(s, w, r, &find{Found: []settled{}})
}

// stopFind is DELETE /api/v1/modbus/{line}/find.
func (s *Server) stopFind(w http.ResponseWriter, r *http.Request) { s.finds.abort(s, w, r) }
