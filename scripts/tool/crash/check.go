package main

import (
	"fmt"
	"slices"
	"strings"

	"fieldferry/buffer"
)

// stream is what one source appended in one session.
type stream struct {
	session uint64
	source  string
}

// promises is what workloads promised.
type promises struct {
	session uint64
	synced  map[stream]uint64          // up to this number
	acked   map[stream]map[uint64]bool // these numbers
	aside   bool                       // a file that was put aside is no failure, if nothing is missing
	lines   int
	checked uint64 // numbers that were looked for
	lost    uint64 // of those: evicted
}

func newPromises() *promises {
	return &promises{synced: map[stream]uint64{}, acked: map[stream]map[uint64]bool{}}
}

// read takes the output of one workload.
func (p *promises) read(text string) error {
	lines := strings.Split(text, "\n")
	for _, line := range lines[:len(lines)-1] { // the last one may be cut
		p.lines++
		var st stream
		var a, n uint64
		switch {
		case scan(line, "session %d", &a):
			if a <= p.session {
				return fmt.Errorf("session %d follows session %d", a, p.session)
			}
			p.session = a
		case scan(line, "synced %s %d", &st.source, &a):
			st.session = p.session
			p.synced[st] = max(p.synced[st], a)
		case scan(line, "acked %d %s %d %d", &st.session, &st.source, &a, &n):
			if p.acked[st] == nil {
				p.acked[st] = map[uint64]bool{}
			}
			for i := range n {
				p.acked[st][a+i] = true
			}
		default:
			return fmt.Errorf("the workload said %q", line)
		}
	}
	return nil
}

func scan(line, format string, a ...any) bool {
	n, err := fmt.Sscanf(line, format, a...)
	return err == nil && n == len(a)
}

// check verifies the buffer and looks for everything that was promised: it is
// there as it was appended, was acknowledged, or is accounted for as evicted.
func (p *promises) check(dir string) error {
	r, err := buffer.Verify(dir, nil)
	if err != nil {
		return err
	}
	damage := slices.DeleteFunc(r.Damage, func(d string) bool { return p.aside && strings.HasSuffix(d, "was put aside as damaged") })
	if len(damage) > 0 {
		return fmt.Errorf("the buffer is damaged: %s", strings.Join(damage, "; "))
	}
	have := map[stream]map[uint64]bool{}
	last := map[stream]uint64{}
	evicted := uint64(0)
	_, err = buffer.Dump(dir, false, nil, func(r buffer.Record) error {
		k := stream{r.Session, r.Source}
		if r.Seq <= last[k] {
			return fmt.Errorf("number %d of %s in session %d follows number %d", r.Seq, r.Source, r.Session, last[k])
		}
		last[k] = r.Seq + max(r.Lost, 1) - 1
		switch {
		case r.Lost == 0 && string(r.Data) != string(payload(r.Seq)):
			return fmt.Errorf("number %d of %s in session %d has the data %q", r.Seq, r.Source, r.Session, r.Data)
		case r.Lost > 0 && r.Reason != buffer.Evicted:
			return fmt.Errorf("%d records of %s in session %d from %d are lost: %v", r.Lost, r.Source, r.Session, r.Seq, r.Reason)
		}
		evicted += r.Lost
		if have[k] == nil {
			have[k] = map[uint64]bool{}
		}
		for i := range max(r.Lost, 1) {
			have[k][r.Seq+i] = true
		}
		return nil
	})
	if err != nil {
		return err
	}
	p.checked, p.lost = 0, evicted
	for k, upto := range p.synced {
		var missing []uint64
		for seq := uint64(1); seq <= upto; seq++ {
			if p.checked++; !have[k][seq] && !p.acked[k][seq] {
				missing = append(missing, seq)
			}
		}
		if n := len(missing); n > 0 {
			return fmt.Errorf("%d numbers of %s in session %d, %d to %d, were on disk, as all up to %d, and are neither there nor acknowledged nor accounted for",
				n, k.source, k.session, missing[0], missing[n-1], upto)
		}
	}
	return nil
}

func (p *promises) summary() string {
	return fmt.Sprintf("up to session %d: %d promises, %d records promised: all kept, %d of them accounted for as evicted", p.session, p.lines, p.checked, p.lost)
}
