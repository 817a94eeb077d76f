package buffer

import (
	"fmt"
	"sort"
)

// Report is what [Inspect] or [Verify] found in a directory or file. Times are those of records,
// in nanoseconds since 1970, 0 when there are none.
type Report struct {
	Dir       string
	InUse     bool   // a process has the buffer
	PID       int    // of that process
	Session   uint64 // the last one begun
	Bytes     int64  // of all files
	Records   uint64 // records on disk, acknowledged ones included
	Pending   uint64 // records on disk, losses included, that are not acknowledged
	FirstTime int64  // of the pending ones
	LastTime  int64
	Segments  []SegmentReport
	Sources   []SourceReport
	Losses    []Record // losses that stand for evicted or damaged segments
	Damage    []string // what is not as it should be; empty when all is well
	Foreign   []string // files that are not the buffer's
}

// SegmentReport describes one file.
type SegmentReport struct {
	_ [0]func() // nobody compares them: saves the code for it

	File    string
	Bytes   int64
	Records uint64 // stored
	Pending uint64 // of those: not acknowledged
	First   uint64 // offset
	Last    uint64
	Damage  string // empty when it is sound
}

// SourceReport describes what is pending of one source in one session.
type SourceReport struct {
	Session uint64
	Source  string
	First   uint64 // sequence number
	Last    uint64
	Records uint64
	Lost    uint64 // records that losses stand for
}

// Progress is called now and then by what reads a whole buffer: done of total
// bytes have been read. A nil one is not called.
type Progress func(done, total int64)

// Inspect looks into the buffer at path, a directory or one of its segment
// files, and changes nothing. It may be used while a process has the buffer:
// then it does not see what is only in that process's memory, may report as
// pending what was acknowledged in the last seconds, and reads the newest
// segment from its raw pages, where a commit under way may already show. An
// error says that there is no buffer, or that it cannot be reached; damage is
// part of the report.
func Inspect(path string, p Progress) (Report, error) {
	return look(path, p, false)
}

// Verify does what [Inspect] does and reads everything there is: also records
// that are acknowledged, the structure of every page, and whether the sequence
// numbers of each source add up: those between two records on disk have to be
// on disk, acknowledged or accounted for by a loss. While a process has the
// buffer what lies between two files is not judged: it may just be changing.
func Verify(path string, p Progress) (Report, error) {
	return look(path, p, true)
}

func look(path string, p Progress, all bool) (Report, error) {
	s, err := newSurvey(path, p, 2)
	if err != nil {
		return Report{Dir: path}, err
	}
	r := s.report
	t := census{report: r, gone: &s.gone, sources: map[runKey]*sourceCensus{}, strict: all && !r.InUse}
	s.each(all, func(x *surveyed, c *entry) { t.entry(x, c) })
	t.finish()
	for _, x := range s.segs {
		r.Segments = append(r.Segments, x.report)
		r.Records += x.report.Records
		r.Pending += x.report.Pending
		if x.report.Damage != "" {
			r.Damage = append(r.Damage, x.report.File+": "+x.report.Damage)
		}
	}
	return *r, nil
}

// Dump calls fn with the records of the buffer at path, a directory or one of
// its segment files, in the order of offsets: those that are not acknowledged
// and the losses, or, with all, everything that is stored. It changes nothing
// and reads what can be read of damaged files; like [Inspect] it may be used
// while a process has the buffer. The record is valid during the call. An
// error of fn ends the dump and is returned. The report names the damage.
func Dump(path string, all bool, p Progress, fn func(Record) error) (Report, error) {
	s, err := newSurvey(path, p, 2)
	if err != nil {
		return Report{Dir: path}, err
	}
	s.each(all, func(x *surveyed, c *entry) {
		if err != nil || c.acked && !all {
			return
		}
		r := Record{Offset: c.offset, Session: c.session, Source: c.source, Seq: c.row.seq, Time: c.row.t}
		if c.row.lost > 0 {
			r.Lost, r.Reason = c.row.lost, c.row.reason
		} else {
			r.Data = c.data[c.row.pos : c.row.pos+c.row.size]
		}
		err = fn(r)
	})
	for _, x := range s.segs {
		if x.report.Damage != "" {
			s.report.Damage = append(s.report.Damage, x.report.File+": "+x.report.Damage)
		}
	}
	return *s.report, err
}

// census adds up what is in a buffer.
type census struct {
	report  *Report
	gone    *spans
	sources map[runKey]*sourceCensus
	strict  bool
}

// sourceCensus is the account of one source in one session.
type sourceCensus struct {
	pending SourceReport
	seen    spans // sequence numbers
	holes   spans // likewise: nothing is known that explains them
	next    uint64
	offset  uint64 // behind the last record
	known   bool
}

func (t *census) entry(x *surveyed, e *entry) {
	if x != nil {
		if x.report.Records == 0 {
			x.report.First = e.offset
		}
		x.report.Last = e.offset
		x.report.Records++
	}
	s := t.source(e)
	t.add(s, e)
	if e.acked {
		return
	}
	if x != nil {
		x.report.Pending++
	} else {
		t.report.Pending++
		t.report.Losses = append(t.report.Losses, Record{Offset: e.offset, Session: e.session, Source: e.source,
			Seq: e.row.seq, Time: e.row.t, Lost: e.row.lost, Reason: e.row.reason})
	}
	p, w := &s.pending, e.row
	if p.Records == 0 {
		p.First = w.seq
	}
	p.First, p.Last = min(p.First, w.seq), max(p.Last, w.next()-1)
	p.Records++
	p.Lost += w.lost
	if r := t.report; r.FirstTime == 0 && r.LastTime == 0 {
		r.FirstTime, r.LastTime = w.t, w.t
	} else {
		r.FirstTime, r.LastTime = min(r.FirstTime, w.t), max(r.LastTime, w.t)
	}
}

func (t *census) source(e *entry) *sourceCensus {
	k := runKey{e.session, e.source}
	s := t.sources[k]
	if s == nil {
		s = &sourceCensus{pending: SourceReport{Session: e.session, Source: e.source}}
		t.sources[k] = s
	}
	return s
}

// add notes the sequence numbers of a record, and a hole in front of it that
// no acknowledgement explains.
func (t *census) add(s *sourceCensus, e *entry) {
	w := e.row
	fresh := s.seen.add(w.seq, w.next())
	if t.strict && fresh == 0 && w.lost == 0 && !e.acked {
		t.report.Damage = append(t.report.Damage, fmt.Sprintf("number %d of %s in session %d is there twice", w.seq, e.source, e.session))
	}
	if s.known && w.seq > s.next && !t.gone.touches(s.offset, e.offset) {
		s.holes.add(s.next, w.seq)
	}
	s.known, s.next, s.offset = true, w.next(), e.offset+1
}

func (t *census) finish() {
	r := t.report
	for _, s := range t.sources {
		if s.pending.Records > 0 {
			r.Sources = append(r.Sources, s.pending)
		}
	}
	sort.Slice(r.Sources, func(i, j int) bool {
		a, b := &r.Sources[i], &r.Sources[j]
		return a.Session < b.Session || a.Session == b.Session && a.Source < b.Source
	})
	if !t.strict {
		return
	}
	var missing []string
	for k, s := range t.sources {
		for _, h := range s.holes.all() {
			if n := h.to - h.from - s.seen.inside(h.from, h.to); n > 0 {
				missing = append(missing, fmt.Sprintf("%d records of %s in session %d between numbers %d and %d are neither there nor accounted for",
					n, k.source, k.session, h.from, h.to-1))
			}
		}
	}
	sort.Strings(missing)
	r.Damage = append(r.Damage, missing...)
}
