package buffer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// sane is the earliest time that a clock may show to be believed. A board
// without a battery starts in 1970, or at the date of its image.
var sane = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()

const badSuffix = ".bad"

// recover reads the directory and begins a session. Nothing else runs yet.
func (b *Buffer) recover() error {
	st, generation, damaged, err := readState(b.cfg.Dir)
	if err != nil {
		return fmt.Errorf("reading the state file: %w", err)
	}
	if damaged {
		b.log.Warn("buffer: a slot of the state file is damaged")
	}
	if err := b.list(); err != nil {
		return err
	}
	b.session, b.next = st.session, max(st.next, 1)
	broken, err := b.loadSegments(&st)
	if err != nil {
		return err
	}
	b.separate()
	left, err := b.takeJournal()
	if err != nil {
		return err
	}
	broken = append(broken, b.vanished(&st, left.s)...)
	missing := b.vanishedEnd(&st)
	b.fillHoles(&st)
	b.tellMissing(missing)
	b.endOf(&st)
	prev := b.session
	if damaged && generation == 0 {
		prev += unknownStarts // nobody knows how many there were
	}
	if b.session, err = b.draw(prev, !st.drawn); err != nil {
		return err
	}
	if b.state, err = openState(b.cfg.Dir, generation); err != nil {
		return err
	}
	if b.enc, err = newEncoder(b.session); err != nil {
		return err
	}
	// Twice, so that each slot alone knows the session.
	if err := errors.Join(b.storeState(), b.storeState()); err != nil {
		return err
	}
	for _, d := range broken {
		if err := b.replaceDamaged(d.s, d.cause); err != nil {
			return err
		}
	}
	if err := b.sweepSegments(true); err != nil {
		return err
	}
	if err := b.keepJournal(left); err != nil {
		return err
	}
	b.syncedTo = b.next
	b.openJournal(left.number)
	return nil
}

// list finds the segments and removes what an interrupted creation left.
func (b *Buffer) list() error {
	entries, err := os.ReadDir(b.cfg.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		path := b.path(name)
		switch {
		case strings.HasSuffix(name, ".tmp"):
			if err := os.Remove(path); err != nil {
				return err
			}
		case strings.HasSuffix(name, badSuffix):
			if size, err := fileSize(path); err == nil {
				b.addBad(path, size)
			}
			if id, ok := segmentID(strings.TrimSuffix(name, badSuffix)); ok {
				b.nextID = max(b.nextID, id+1)
			}
		default:
			if id, ok := segmentID(name); ok {
				b.segs = append(b.segs, &segment{id: id, path: path})
				b.nextID = max(b.nextID, id+1)
			}
		}
	}
	sort.Slice(b.segs, func(i, j int) bool { return b.segs[i].id < b.segs[j].id })
	return nil
}

// segmentID returns the number in a segment's name.
func segmentID(name string) (uint64, bool) {
	num, ok := strings.CutSuffix(name, ".db")
	if !ok || len(num) < 8 {
		return 0, false
	}
	id, err := strconv.ParseUint(num, 10, 63)
	return id, err == nil && segmentName(id) == name
}

// brokenSegment is a segment that cannot be used as it is.
type brokenSegment struct {
	s     *segment
	cause error
}

// loadSegments reads the summaries of the segments. The newest is read
// through: it is the one that was written when power failed. The others were
// complete before and are read through before their first use.
func (b *Buffer) loadSegments(st *state) (broken []brokenSegment, err error) {
	for _, p := range st.gone {
		b.gone.add(p.from, p.to)
	}
	b.losses = append(b.losses, st.losses...)
	sort.Slice(b.losses, func(i, j int) bool { return b.losses[i].offset < b.losses[j].offset })
	for i, s := range b.segs {
		s.size, _ = fileSize(s.path)
		err := b.loadSegment(s, i == len(b.segs)-1)
		if err != nil && !damage(err) {
			return nil, err // it may be whole: keep it for when it can be reached
		}
		if err != nil {
			b.log.Error("buffer: a segment is damaged", "file", s.path, "error", err)
			broken = append(broken, brokenSegment{s, err})
		}
		b.session = max(b.session, s.sum.session)
		b.next = max(b.next, s.sum.next)
		if s.sum.rows > 0 {
			b.next = max(b.next, s.sum.last+1)
		}
		for _, p := range s.sum.gone {
			b.gone.add(p.from, p.to)
		}
	}
	for _, l := range b.losses {
		b.next = max(b.next, l.offset+1)
		b.session = max(b.session, l.session)
	}
	return broken, nil
}

// vanished finds where the chain has holes that nobody has noted: what is
// acknowledged or evicted is noted in the state file, and what a commit left
// out in the summary of its segment. Either a file is missing, or the segment
// in front of the hole lost its newest meta page and shows an earlier state.
func (b *Buffer) vanished(st *state, journal *segment) (broken []brokenSegment) {
	var chain []*segment
	var prev *segment
	at := uint64(1) // offset 0 is never used
	for _, s := range b.segs {
		if s.sum.rows > 0 && !s.sum.guess && b.unknown(at, s.sum.first) {
			switch {
			case prev == nil && (s.id > 1 || s == journal) || prev != nil && s.id > prev.id+1:
				v := &segment{id: s.id - 1, path: b.path(segmentName(s.id - 1)), sum: summary{guess: true}}
				b.log.Error("buffer: a segment is missing", "file", v.path)
				chain = append(chain, v)
				broken = append(broken, brokenSegment{v, os.ErrNotExist})
			case prev != nil && !prev.sum.guess:
				broken = append(broken, b.stepBack(prev))
			}
		}
		chain = append(chain, s)
		prev = s
		if s.sum.rows > 0 {
			at = s.sum.last + 1
		}
	}
	b.segs = chain
	// Behind the newest segment there may be what only ever was in memory.
	if prev != nil && !prev.sum.guess && b.unknown(at, st.next) && metaLost(prev.path) {
		if list := scan(prev.path); len(list) > 0 && list[len(list)-1].head.first >= at {
			broken = append(broken, b.stepBack(prev))
		}
	}
	return broken
}

// unknown says whether there is no note of some offset in [from,to).
func (b *Buffer) unknown(from, to uint64) bool {
	if from >= to {
		return false
	}
	told := uint64(b.losses.at(to) - b.losses.at(from))
	return b.gone.inside(from, to)+told < to-from
}

// stepBack describes anew a segment that shows an earlier state of itself.
func (b *Buffer) stepBack(s *segment) brokenSegment {
	err := fmt.Errorf("its newest commit is missing: %w", errDamaged)
	b.log.Error("buffer: a segment is damaged", "file", s.path, "error", err)
	old := s.sum
	s.sum = b.describe(s)
	s.sum.session, s.sum.born, s.sum.gone = max(old.session, s.sum.session), old.born, old.gone
	s.sum.next = max(old.next, s.sum.next)
	b.next = max(b.next, s.sum.next)
	return brokenSegment{s, err}
}

// reckon adds to the ages of segments of earlier sessions what passed until
// this one. It does so once, when the time of day is known: until then they
// are as old as the session.
func (b *Buffer) reckon() {
	now := b.timeOfDay()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.reckoned || !b.attached || now < sane {
		return
	}
	b.reckoned = true
	b.recall(now)
	for _, s := range b.segs {
		if born := s.sum.born; s.sum.session < b.session && born >= sane && born < now {
			s.saved = min(s.saved, b.now()-time.Duration(now-born))
		}
	}
}

func (b *Buffer) loadSegment(s *segment, through bool) error {
	db, err := openBolt(s.path, true, 0)
	if err != nil {
		s.sum = b.describe(s)
		return err
	}
	s.db = db
	var sum summary
	if err = checkPages(s.path, !through); err == nil {
		sum, err = s.readSummary()
	}
	if err == nil {
		s.data, err = s.used()
	}
	if err == nil && through {
		if err = s.verify(&sum); err == nil {
			s.checked = true
		}
	}
	if cerr := s.close(); err == nil {
		err = cerr
	}
	if err != nil && sum.rows == 0 {
		sum = b.describe(s)
	}
	s.sum = sum
	return err
}

// describe makes a summary of the chunks found in the raw pages.
func (b *Buffer) describe(s *segment) summary {
	var sum summary
	for _, c := range scan(s.path) {
		sum.note(&c.head)
	}
	sum.next = sum.last + 1
	sum.guess = true
	return sum
}

// separate cuts the end off a segment whose last commit had an unknown outcome
// and was repeated in the next one.
func (b *Buffer) separate() {
	var next *segment
	for i := len(b.segs) - 1; i >= 0; i-- {
		s := b.segs[i]
		if s.sum.rows == 0 {
			continue
		}
		if next != nil && s.sum.last >= next.sum.first {
			old := s.sum
			s.sum = summary{session: old.session, next: old.next, born: old.born, gone: old.gone, guess: old.guess}
			for _, c := range scan(s.path) {
				if c.head.last < next.sum.first {
					s.sum.note(&c.head)
				}
			}
			if s.sum.rows == 0 {
				continue
			}
		}
		next = s
	}
}

// fillHoles marks every offset that no segment and no loss has as gone: they
// were never stored. What a damaged segment had is not known yet.
func (b *Buffer) fillHoles(st *state) {
	at, unsure := uint64(0), false
	fill := func(to uint64) {
		if !unsure {
			b.gone.add(at, to)
		}
		unsure = false
	}
	for _, s := range b.segs {
		if s.sum.rows > 0 {
			unsure = unsure || s.sum.guess
			fill(s.sum.first)
			at = max(at, s.sum.last+1)
		}
		unsure = unsure || s.sum.guess
	}
	fill(b.next)
	for _, l := range st.losses {
		b.gone.remove(l.offset, l.offset+1)
	}
}

// repair is called by a reader that found damage. It keeps what can be read
// and puts losses in the place of the rest.
func (b *Buffer) repair(s *segment, cause error) error {
	b.disk.Lock()
	defer b.disk.Unlock()
	b.rmu.Lock()
	ended := b.ended
	b.rmu.Unlock()
	if ended {
		return ErrClosed
	}
	if !b.inChain(s) {
		return nil // somebody else has repaired or removed it
	}
	if err := b.present(); err != nil {
		return b.repairAway(s, err)
	}
	b.log.Error("buffer: a segment is damaged", "file", s.path, "error", cause)
	if s == b.active {
		b.abandon()
	}
	return b.replaceDamaged(s, cause)
}

func (b *Buffer) inChain(s *segment) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.segs, s)
}

// replaceDamaged writes the sound chunks of a segment to a new file, puts the
// damaged one aside and accounts for what is missing. Power may fail at any
// point: the account is stored first, and until the new file has the name of
// the old one the old one is found and repaired again.
func (b *Buffer) replaceDamaged(s *segment, cause error) error {
	if info, err := os.Stat(s.path); err == nil {
		// The copy takes room until the damaged file is given up.
		if err := b.makeRoom(info.Size()); err != nil && !errors.Is(err, errFull) {
			return err
		}
		if !b.inChain(s) {
			return nil // it was itself what had to go
		}
	}
	good := scan(s.path)
	b.mu.Lock()
	if !s.sum.guess {
		good = within(good, s.sum.first, s.sum.last)
	}
	b.mu.Unlock()
	var fresh *segment
	if len(good) > 0 {
		var err error
		if fresh, err = b.rewrite(s, good, s.sum.gone); err != nil {
			return fmt.Errorf("repairing %s (%w): %w", s.path, cause, err)
		}
	}
	b.account(s, good)
	if err := b.storeState(); err != nil {
		return err
	}
	s.hmu.Lock()
	s.dead = true
	err := s.closeLocked()
	s.hmu.Unlock()
	if err != nil {
		b.log.Error("buffer: closing a segment failed", "file", s.path, "error", err)
	}
	if err := b.putAside(s.path, fresh != nil); err != nil {
		return err
	}
	if fresh == nil {
		return b.unlink(s)
	}
	if err := os.Rename(fresh.path, s.path); err != nil {
		return err
	}
	fresh.path = s.path
	b.mu.Lock()
	for i := range b.segs {
		if b.segs[i] == s {
			b.segs[i] = fresh
		}
	}
	b.mu.Unlock()
	return syncDir(b.cfg.Dir)
}

// putAside keeps a damaged file under another name for whoever wants to look
// into it.
func (b *Buffer) putAside(path string, stays bool) error {
	bad := path + badSuffix
	os.Remove(bad)
	var err error
	if stays {
		err = os.Link(path, bad) // the name itself is replaced at once, not left empty
	} else {
		err = os.Rename(path, bad)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		b.log.Warn("buffer: a damaged file could not be kept", "file", path, "error", err)
		return nil
	}
	size, _ := fileSize(bad)
	b.addBad(bad, size)
	for len(b.bad) > maxBad {
		b.dropBad()
	}
	return nil
}

const maxBad = 4 // damaged files that are kept

// rewrite writes chunks to a new segment under a temporary name.
func (b *Buffer) rewrite(s *segment, good []found, gone []span) (*segment, error) {
	tmp := filepath.Join(b.cfg.Dir, segmentName(s.id)+".repair.tmp")
	os.Remove(tmp)
	db, err := openFile(tmp, false, 0)
	if err != nil {
		return nil, err
	}
	n := &segment{id: s.id, path: tmp, saved: s.saved, checked: true, db: db}
	n.sum = summary{session: s.sum.session, next: s.sum.next, born: s.sum.born, gone: gone}
	for at := 0; at < len(good) && err == nil; at += 64 {
		part := good[at:min(at+64, len(good))]
		var chunks [][]byte
		var heads []head
		for i := range part {
			chunks = append(chunks, part[i].bytes)
			heads = append(heads, part[i].head)
			n.sum.note(&part[i].head)
		}
		n.sum.next = max(n.sum.next, n.sum.last+1)
		err = n.append(chunks, heads, n.sum.encode(nil))
	}
	used, uerr := n.used()
	if cerr := n.close(); err == nil {
		err = errors.Join(uerr, cerr)
	}
	if err == nil {
		err = truncate(tmp, used) // which syncs
	}
	if err == nil {
		n.size, err = fileSize(tmp)
		n.data = used
	}
	if err != nil {
		os.Remove(tmp)
		return nil, err
	}
	return n, nil
}
