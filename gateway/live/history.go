package live

import (
	"math"
	"sync"
	"time"
)

// The two scales of a [History].
const (
	FineStep   = 10 * time.Second
	FineSpan   = time.Hour
	CoarseStep = 5 * time.Minute
	CoarseSpan = 24 * time.Hour

	fineSlots   = int(FineSpan / FineStep)
	coarseSlots = int(CoarseSpan / CoarseStep)

	// MaxSeries bounds the memory of a history: 256 series take 2 MB.
	MaxSeries = 256
)

// History is the course of a few figures: the last hour in steps of ten seconds,
// the last day in steps of five minutes, with the least, the greatest and the
// last value of each step. A step without a value is a gap, never a zero.
//
// It counts steps by a clock nobody sets, and knows the time of day only when it
// is asked: a clock that is set does not tear it.
type History struct {
	mu     sync.Mutex
	series map[string]*series
	names  []string
}

// Step is one step of a series. All three are NaN in a gap.
type Step struct{ Min, Max, Last float32 }

var gap = Step{float32(math.NaN()), float32(math.NaN()), float32(math.NaN())}

func (s Step) empty() bool { return s.Last != s.Last }

// with is s with a value more.
func (s Step) with(v float32) Step {
	if s.empty() {
		return Step{v, v, v}
	}
	return Step{min(s.Min, v), max(s.Max, v), v}
}

// ring holds the newest steps of one scale. Step n of the process is in place n
// modulo its length; first is the step that the ring began with.
type ring struct {
	steps       []Step
	first, last int64
}

func newRing(slots int, n int64) ring {
	return ring{steps: make([]Step, slots), first: n, last: n - 1}
}

// at is the step n, emptied if it is new, with gaps for the steps left out.
func (r *ring) at(n int64) *Step {
	for r.last < n {
		r.last = max(r.last+1, n-int64(len(r.steps))+1)
		r.steps[r.last%int64(len(r.steps))] = gap
	}
	return &r.steps[n%int64(len(r.steps))]
}

// series is one figure. Its fine ring begins with the first value.
type series struct{ fine, coarse ring }

// NewHistory returns an empty one.
func NewHistory() *History { return &History{series: map[string]*series{}} }

// Add notes a value of the named figure at a time since the start. What is not
// a number is a gap. Beyond [MaxSeries] figures further ones are not kept.
func (h *History) Add(name string, up time.Duration, value float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.series[name]
	fine, coarse := int64(up/FineStep), int64(up/CoarseStep)
	if s == nil {
		if len(h.series) >= MaxSeries {
			return
		}
		s = &series{newRing(fineSlots, fine), newRing(coarseSlots, coarse)}
		h.series[name] = s
		h.names = append(h.names, name)
	}
	a, b := s.fine.at(fine), s.coarse.at(coarse)
	if !math.IsNaN(value) {
		*a, *b = a.with(float32(value)), b.with(float32(value))
	}
}

// Names lists the figures in the order in which they came.
func (h *History) Names() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.names...)
}

// Course is a part of a series.
type Course struct {
	From  time.Duration // since the start, of the first step
	Step  time.Duration
	Steps []Step
}

// Fine returns the last hour of a figure, Coarse its last day. A figure nobody
// knows has no steps.
func (h *History) Fine(name string) Course { return h.course(name, FineStep) }

// Coarse returns the last day of a figure.
func (h *History) Coarse(name string) Course { return h.course(name, CoarseStep) }

func (h *History) course(name string, step time.Duration) Course {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := Course{Step: step}
	s := h.series[name]
	if s == nil {
		return c
	}
	r := &s.fine
	if step == CoarseStep {
		r = &s.coarse
	}
	first := max(r.first, r.last-int64(len(r.steps))+1)
	c.From = time.Duration(first) * step
	for n := first; n <= r.last; n++ {
		c.Steps = append(c.Steps, r.steps[n%int64(len(r.steps))])
	}
	return c
}

// note adds the figures of a snapshot.
func (h *History) note(s *Snapshot) {
	in := 0.0
	for i := range s.Sources {
		src := &s.Sources[i]
		in += src.Rate
		h.Add("rate:"+src.Name, s.Up, src.Rate)
		if src.CAN != nil {
			h.Add("load:"+src.Name, s.Up, known(src.CAN.Load))
			h.Add("errors:"+src.Name, s.Up, float64(src.CAN.ErrorCount))
		}
		if src.Modbus != nil {
			h.Add("busy:"+src.Name, s.Up, known(src.Modbus.Busy))
			for j := range src.Modbus.Units {
				u := &src.Modbus.Units[j]
				h.Add("rtt:"+src.Name+":"+u.Name, s.Up, known(u.P50))
			}
		}
	}
	h.Add("in", s.Up, in)
	h.Add("acked", s.Up, s.Uplink.Rate)
	h.Add("buffer", s.Up, float64(s.Buffer.Disk))
	h.Add("records", s.Up, float64(s.Buffer.Records))
	connected := 0.0
	if s.Uplink.Connected {
		connected = 1
	}
	h.Add("connected", s.Up, connected)
}

// known is v, or a gap if it is negative: not known.
func known(v float64) float64 {
	if v < 0 {
		return math.NaN()
	}
	return v
}
