package buffer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// Report is what [Inspect] found in a directory. Times are those of records,
// in nanoseconds since 1970, 0 when there are none.
type Report struct {
	Dir       string
	InUse     bool   // a process has the buffer
	PID       int    // of that process
	Session   uint64 // the last one begun
	Bytes     int64  // of all files
	Pending   uint64 // records on disk, losses included, that are not acknowledged
	FirstTime int64  // of the pending ones
	LastTime  int64
	Segments  []SegmentReport
	Sources   []SourceReport
	Losses    []Record // losses that stand for evicted or damaged segments
	Damage    []string // what is not as it should be; empty when all is well
}

// SegmentReport describes one file.
type SegmentReport struct {
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

// Inspect looks into the buffer in dir and changes nothing. It may be used
// while a process has the buffer: then it does not see what is only in that
// process's memory, may report as pending what was acknowledged in the last
// seconds, and reads the newest segment from its raw pages, where a commit
// under way may already show. An error says that there is no buffer, or that
// it cannot be reached; damage is part of the report.
func Inspect(dir string) (Report, error) {
	r := Report{Dir: dir}
	in := inspector{report: &r, sources: map[runKey]*SourceReport{}}
	names, err := in.list()
	if err != nil {
		return r, fmt.Errorf("looking into the buffer in %s: %w", dir, err)
	}
	r.InUse, r.PID = holder(filepath.Join(dir, lockName))
	st, generation, damaged, err := readState(dir)
	if err != nil {
		return r, fmt.Errorf("looking into the buffer in %s: %w", dir, err)
	}
	if len(names) == 0 && generation == 0 && !damaged {
		return r, fmt.Errorf("%s holds no buffer: %w", dir, os.ErrNotExist)
	}
	if damaged {
		r.Damage = append(r.Damage, "a slot of the state file is damaged")
	}
	r.Session = st.session
	for _, g := range st.gone {
		in.gone.add(g.from, g.to)
	}
	in.segments(names)
	in.losses(st.losses)
	for _, s := range in.sources {
		r.Sources = append(r.Sources, *s)
	}
	sort.Slice(r.Sources, func(i, j int) bool {
		a, b := &r.Sources[i], &r.Sources[j]
		return a.Session < b.Session || a.Session == b.Session && a.Source < b.Source
	})
	return r, nil
}

type inspector struct {
	report  *Report
	gone    spans
	sources map[runKey]*SourceReport
	batch   Batch
}

// list returns the names of the segments in their order.
func (in *inspector) list() (names []string, err error) {
	entries, err := os.ReadDir(in.report.Dir)
	if err != nil {
		return nil, err
	}
	ids := map[string]uint64{}
	for _, e := range entries {
		id, ok := segmentID(e.Name())
		switch {
		case ok:
			ids[e.Name()] = id
			names = append(names, e.Name())
		case strings.HasSuffix(e.Name(), badSuffix):
			in.report.Damage = append(in.report.Damage, e.Name()+" was put aside as damaged")
		case e.Name() != stateName && e.Name() != lockName:
			continue
		}
		size, _ := fileSize(filepath.Join(in.report.Dir, e.Name()))
		in.report.Bytes += size
	}
	sort.Slice(names, func(i, j int) bool { return ids[names[i]] < ids[names[j]] })
	return names, nil
}

// holder says whether a process has the lock, and which.
func holder(path string) (held bool, pid int) {
	f, err := os.Open(path)
	if err != nil {
		return false, 0
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return false, 0
	}
	return true, lockHolder(f)
}

// segments reads the newest first: it knows best what was acknowledged.
func (in *inspector) segments(names []string) {
	list := make([]SegmentReport, len(names))
	for i := len(names) - 1; i >= 0; i-- {
		s := &segment{path: filepath.Join(in.report.Dir, names[i])}
		raw := in.report.InUse && i == len(names)-1
		list[i] = in.segment(s, raw)
		list[i].File = names[i]
		if d := list[i].Damage; d != "" {
			in.report.Damage = append(in.report.Damage, names[i]+": "+d)
		}
	}
	for _, s := range list {
		in.report.Pending += s.Pending
	}
	in.report.Segments = list
}

func (in *inspector) segment(s *segment, raw bool) (r SegmentReport) {
	r.Bytes, _ = fileSize(s.path)
	if !raw {
		err := in.structured(s, &r)
		if err == nil {
			return r
		}
		if errors.Is(err, os.ErrNotExist) {
			return SegmentReport{Damage: "it was removed meanwhile"}
		}
		r = SegmentReport{Bytes: r.Bytes, Damage: err.Error()}
	}
	for _, c := range scan(s.path) {
		in.chunk(&c.head, &r)
	}
	return r
}

// structured reads a segment as bbolt file. It counts nothing unless all of it
// can be read.
func (in *inspector) structured(s *segment, r *SegmentReport) error {
	db, err := openBolt(s.path, true, 0)
	if err != nil {
		return err
	}
	s.db = db
	defer func() { _ = s.close() }()
	sum, err := s.readSummary()
	if err == nil {
		err = s.verify(&sum)
	}
	if err != nil {
		return err
	}
	in.report.Session = max(in.report.Session, sum.session)
	for _, g := range sum.gone {
		in.gone.add(g.from, g.to)
	}
	return s.walk(func(h *head, _ []byte) error {
		if h.last <= sum.last {
			in.chunk(h, r)
		}
		return nil
	})
}

func (in *inspector) chunk(h *head, r *SegmentReport) {
	if r.Records == 0 {
		r.First = h.first
	}
	r.Last = h.last
	r.Records += h.rows
	if in.gone.covers(h.first, h.last+1) {
		return
	}
	in.batch.chunk.head = *h
	if err := in.batch.inflate(); err != nil {
		r.Damage = err.Error()
		return
	}
	d := &in.batch.chunk
	for i := range d.row {
		if !in.gone.contains(d.off[i]) {
			r.Pending++
			in.record(d.head.session, d.head.tables[d.row[i].src].name, &d.row[i])
		}
	}
}

func (in *inspector) record(session uint64, source string, w *row) {
	k := runKey{session, source}
	s := in.sources[k]
	if s == nil {
		s = &SourceReport{Session: session, Source: source, First: w.seq}
		in.sources[k] = s
	}
	s.First, s.Last = min(s.First, w.seq), max(s.Last, w.next()-1)
	s.Records++
	s.Lost += w.lost
	if r := in.report; r.FirstTime == 0 && r.LastTime == 0 {
		r.FirstTime, r.LastTime = w.t, w.t
	} else {
		r.FirstTime, r.LastTime = min(r.FirstTime, w.t), max(r.LastTime, w.t)
	}
}

func (in *inspector) losses(list []loss) {
	for _, l := range list {
		in.report.Pending++
		in.record(l.session, l.source, &row{t: l.t, seq: l.seq, lost: l.n})
		in.report.Losses = append(in.report.Losses, Record{Offset: l.offset, Session: l.session,
			Source: l.source, Seq: l.seq, Time: l.t, Lost: l.n, Reason: l.reason})
	}
}
