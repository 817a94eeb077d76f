package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"fieldferry/buffer/beneath"

	"golang.org/x/sys/unix"
)

// survey is a buffer, or one file of it, that is looked at without being
// changed.
type survey struct {
	report   *Report
	segs     []*surveyed
	journal  logBook
	gone     spans
	losses   losses
	progress Progress
	done     int64
	total    int64
	batch    Batch
}

// surveyed is one segment that is looked at.
type surveyed struct {
	segment
	report SegmentReport
	raw    bool    // its chunks are looked for in its raw pages
	list   []found // of the journal: its chunks
	end    uint64  // what it has from this offset on is repeated in the next segment; 0: nothing
}

// entry is one record that a survey comes across.
type entry struct {
	offset, session uint64
	source          string
	row             *row
	data            []byte // of all records of the chunk
	acked           bool
}

// newSurvey reads the directory at path, or takes path as the only segment,
// and reads every segment through once. passes is how often everything is
// read in the end.
func newSurvey(path string, p Progress, passes int64) (*survey, error) {
	s := &survey{report: &Report{Dir: path}, progress: p}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, hint(fmt.Errorf("looking into the buffer: %w", err), "run it as root or as the user that the buffer belongs to")
	case info.Mode().IsRegular() && filepath.Base(path) == journalName:
		s.report.Bytes = info.Size()
		if s.journal, err = readJournal(path); err != nil {
			return nil, err
		}
	case info.Mode().IsRegular():
		x := &surveyed{segment: segment{path: path}, report: SegmentReport{File: filepath.Base(path), Bytes: info.Size()}}
		s.segs, s.report.Bytes = append(s.segs, x), info.Size()
	default:
		if err := s.directory(); err != nil {
			return nil, hint(fmt.Errorf("looking into the buffer: %w", err), "run it as root or as the user that the buffer belongs to")
		}
	}
	s.total = s.report.Bytes * passes
	for i, x := range s.segs {
		s.summarize(x, s.report.InUse && i == len(s.segs)-1)
		for _, g := range x.sum.gone {
			s.gone.add(g.from, g.to)
		}
		s.report.Session = max(s.report.Session, x.sum.session)
		s.advance(x.report.Bytes)
	}
	if x := s.segs; len(x) > 0 && info.Mode().IsRegular() && x[0].sum.rows == 0 && x[0].report.Damage != "" {
		if _, ok := segmentID(x[0].report.File); !ok {
			return nil, &absent{path + " is not a file of a buffer's records; name the directory (buffer.path of the configuration) or one of the files like " + segmentName(1) + " in it"}
		}
	}
	s.addJournal()
	for _, l := range s.losses {
		s.gone.remove(l.offset, l.offset+1)
	}
	s.connect(info.IsDir() && !s.report.InUse)
	return s, nil
}

// addJournal adds what the journal has and no segment has, as one more.
func (s *survey) addJournal() {
	end, id := uint64(0), uint64(0)
	for _, x := range s.segs {
		if x.sum.rows > 0 {
			end = max(end, x.sum.last+1)
		}
		id = x.id
	}
	j := &surveyed{segment: segment{id: max(id+1, 2)}, raw: true, report: SegmentReport{File: journalName, Bytes: s.journal.size}}
	j.sum, j.list = s.journal.rest(end, &s.gone, s.unknown)
	if j.sum.rows == 0 {
		return
	}
	if s.journal.broken && !s.report.InUse {
		j.report.Damage = "entries are damaged"
	}
	s.segs = append(s.segs, j)
	s.report.Session = max(s.report.Session, j.sum.session)
}

// absent says that there is no buffer; it is an os.ErrNotExist.
type absent struct{ text string }

func (e *absent) Error() string { return e.text }
func (e *absent) Unwrap() error { return os.ErrNotExist }

func (s *survey) advance(n int64) {
	s.done += n
	if s.progress != nil {
		s.progress(min(s.done, s.total), s.total)
	}
}

// directory lists the files and reads the state.
func (s *survey) directory() error {
	r := s.report
	entries, err := os.ReadDir(r.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		path := filepath.Join(r.Dir, name)
		size, _ := fileSize(path)
		id, ok := segmentID(name)
		switch {
		case ok:
			s.segs = append(s.segs, &surveyed{segment: segment{id: id, path: path}, report: SegmentReport{File: name, Bytes: size}})
		case strings.HasSuffix(name, badSuffix):
			r.Damage = append(r.Damage, name+" was put aside as damaged")
		case name == alarmsName: // counts as the buffer's
		case e.Type() == os.ModeSocket, e.IsDir(): // the daemon is asked there; others keep files of their own
			continue
		case name != stateName && name != lockName && name != journalName && !strings.HasSuffix(name, ".tmp"):
			r.Foreign = append(r.Foreign, name)
			continue
		}
		r.Bytes += size
	}
	sort.Slice(s.segs, func(i, j int) bool { return s.segs[i].id < s.segs[j].id })
	r.InUse, r.PID = holder(filepath.Join(r.Dir, lockName))
	// Before the segments: what it has may just be going there.
	if s.journal, err = readJournal(filepath.Join(r.Dir, journalName)); err != nil {
		return err
	}
	st, generation, damaged, err := readState(r.Dir)
	if err != nil {
		return err
	}
	if len(s.segs) == 0 && generation == 0 && !damaged && len(s.journal.run) == 0 {
		return &absent{r.Dir + " holds no buffer; buffer.path of the configuration says where it is"}
	}
	if damaged && generation == 0 { // one slot alone may be what power failed on
		r.Damage = append(r.Damage, "the state file cannot be read: what was acknowledged since the segments were written is not known, and comes again")
	}
	r.Session = st.session
	for _, g := range st.gone {
		s.gone.add(g.from, g.to)
	}
	s.losses = append(s.losses, st.losses...)
	sort.Slice(s.losses, func(i, j int) bool { return s.losses[i].offset < s.losses[j].offset })
	return nil
}

// holder says whether a process has the lock, and which.
func holder(path string) (held bool, pid int) {
	f, err := beneath.Open(path)
	if err != nil {
		return false, 0
	}
	defer f.Close()
	if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
		return false, 0
	}
	return true, lockHolder(f)
}

// summarize finds out what a segment has. One that a process writes to, and
// one that is damaged, is read from its raw pages.
func (s *survey) summarize(x *surveyed, raw bool) {
	if !raw {
		err := x.structured()
		if err == nil {
			return
		}
		if errors.Is(err, os.ErrNotExist) && s.report.InUse {
			x.report.Damage = "" // acknowledged and removed meanwhile
			return
		}
		x.report.Damage = err.Error()
	}
	x.raw = true
	sum := &x.sum
	if sum.rows > 0 {
		return
	}
	for _, c := range scan(x.path) {
		sum.note(&c.head)
	}
	sum.next = sum.last + 1
	sum.guess = true
	if sum.rows == 0 && x.report.Damage != "" {
		x.report.Damage += "; nothing of a buffer is found in it"
	}
}

// structured reads a segment as a bbolt file.
func (x *surveyed) structured() error {
	db, err := openBolt(x.path, true, 0)
	if err != nil {
		return err
	}
	x.db = db
	defer func() { _ = x.close() }()
	if err := checkPages(x.path, false); err != nil {
		return err
	}
	sum, err := x.readSummary()
	if err != nil {
		return err
	}
	x.sum = sum
	return x.verify(&sum)
}

// connect looks at what lies between the segments: where two overlap the
// second one has it, and what nobody has and nobody has noted is missing.
func (s *survey) connect(judge bool) {
	var prev *surveyed
	at, id := uint64(1), uint64(0) // where the next one should begin, and its number
	for _, x := range s.segs {
		follows := x.id == id+1
		id = x.id
		if x.sum.rows == 0 {
			continue
		}
		if prev != nil && x.sum.first <= prev.sum.last {
			prev.end = x.sum.first
		}
		if judge && (!x.raw || x.list != nil) && s.unknown(at, x.sum.first) {
			switch {
			case !follows:
				s.report.Damage = append(s.report.Damage, segmentName(x.id-1)+" is missing")
			case prev != nil && !prev.raw:
				s.lookBehind(prev, x.sum.first)
			}
		}
		prev, at = x, x.sum.last+1
	}
	if judge && prev != nil && !prev.raw && metaLost(prev.path) {
		s.lookBehind(prev, ^uint64(0))
	}
}

func (s *survey) unknown(from, to uint64) bool {
	return from < to && s.gone.inside(from, to)+uint64(s.losses.at(to)-s.losses.at(from)) < to-from
}

// lookBehind looks for chunks that a segment had behind its end, as far as
// to: then it shows an earlier state of itself.
func (s *survey) lookBehind(x *surveyed, to uint64) {
	end := x.sum.last
	for _, c := range scan(x.path) {
		if c.head.first > end && c.head.last < to && s.unknown(c.head.first, c.head.last+1) {
			x.report.Damage, x.raw = "its newest commit can only be found in its raw pages", true
			x.sum.note(&c.head)
		}
	}
}

// each calls fn with every record, in the order of offsets; for a loss that
// lies in no segment x is nil. Chunks of which all is acknowledged are left
// out, unless all is set.
func (s *survey) each(all bool, fn func(x *surveyed, e *entry)) {
	left := s.losses
	for _, x := range s.segs {
		err := x.chunks(func(h *head) error {
			if h.last > x.sum.last || x.end > 0 && h.last >= x.end {
				return nil
			}
			left = s.lossesUpto(left, h.first, fn)
			if !all && s.gone.covers(h.first, h.last+1) {
				x.report.Records += h.rows
				return nil
			}
			s.batch.chunk.head = *h
			if err := s.batch.inflate(); err != nil {
				return err
			}
			d := &s.batch.chunk
			for i := range d.row {
				left = s.lossesUpto(left, d.off[i], fn)
				if s.losses.has(d.off[i]) {
					continue // the loss took its place
				}
				fn(x, &entry{d.off[i], d.head.session, d.head.tables[d.row[i].src].name, &d.row[i], d.data, s.gone.contains(d.off[i])})
			}
			return nil
		})
		if err != nil && x.report.Damage == "" && !(s.report.InUse && errors.Is(err, os.ErrNotExist)) {
			x.report.Damage = err.Error()
		}
		s.advance(x.report.Bytes)
	}
	s.lossesUpto(left, ^uint64(0), fn)
}

func (s *survey) lossesUpto(left losses, off uint64, fn func(x *surveyed, e *entry)) losses {
	for len(left) > 0 && left[0].offset <= off {
		l := &left[0]
		fn(nil, &entry{offset: l.offset, session: l.session, source: l.source,
			row: &row{t: l.t, seq: l.seq, lost: l.n, reason: l.reason}})
		left = left[1:]
	}
	return left
}

// chunks calls fn with the chunks of a segment in the order of offsets.
func (x *surveyed) chunks(fn func(h *head) error) error {
	if x.raw {
		list := x.list
		if list == nil {
			list = scan(x.path)
		}
		for _, c := range list {
			if err := fn(&c.head); err != nil {
				x.report.Damage = err.Error()
			}
		}
		return nil
	}
	db, err := openBolt(x.path, true, 0)
	if err != nil {
		return err
	}
	x.db = db
	defer func() { _ = x.close() }()
	return x.walk(func(h *head, _ []byte) error { return fn(h) })
}

// ours says whether a top-level key of a segment is one of the buffer's.
func ours(key []byte) bool { return len(key) == 8 || bytes.Equal(key, metaBucket) }
