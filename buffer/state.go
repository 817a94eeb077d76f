package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"fieldferry/buffer/beneath"
)

// The state file has two slots that are written in turn, so that power may
// fail during a write, and so that a full disk does not stop an eviction from
// being accounted for: no new space is needed. Slots that are half full are
// exchanged for bigger ones, long before there is no room in them.
const (
	stateName     = "state"
	alarmsName    = "alarms" // not the buffer's, but kept beside it
	stateSlot     = 64 << 10 // bytes of a slot at first
	stateSize     = 2 * stateSlot
	maxStateSlot  = 64 << 20
	stateMagic    = "FFst"
	stateVersion  = 3  // 1 had no journal, 2 no typed records: an older gateway could not read what it finds
	stateFixed    = 24 // magic, version, length, CRC32C, generation
	maxSpansState = 1024
	minLossBytes  = 7  // what a loss takes in the state at least
	lossBytes     = 24 // and about
)

// state is what has to outlive the segments: the session, what is no longer
// needed, and the losses that stand for evicted or damaged segments. What the
// newest segment and the journal have is there too, as of the last write:
// nothing that comes later would tell that they are missing.
type state struct {
	session uint64
	next    uint64
	gone    []span
	losses  []loss
	newest  []table

	drawn   bool // the session was drawn: a version that counted sessions has not written this
	clean   bool // the session has ended, with everything on disk
	stored  map[string]uint64
	endings []Ending // of sessions before it, the last one last
}

func (s *state) encode(b []byte) []byte {
	b = binary.AppendUvarint(b, s.session)
	b = binary.AppendUvarint(b, s.next)
	b = appendSpans(b, s.gone, maxSpansState)
	b = binary.AppendUvarint(b, uint64(len(s.losses)))
	names := map[string]uint64{}
	for _, l := range s.losses {
		b = binary.AppendUvarint(b, l.offset)
		b = binary.AppendUvarint(b, l.session)
		i, known := names[l.source]
		if !known {
			i = uint64(len(names))
			names[l.source] = i
		}
		b = binary.AppendUvarint(b, i)
		if !known {
			b = binary.AppendUvarint(b, uint64(len(l.source)))
			b = append(b, l.source...)
		}
		b = binary.AppendUvarint(b, l.seq)
		b = binary.AppendUvarint(b, l.n)
		b = binary.AppendVarint(b, l.t)
		b = append(b, byte(l.reason))
	}
	b = binary.AppendUvarint(b, uint64(len(s.newest)))
	for _, t := range s.newest {
		b = appendTable(b, t)
	}
	if s.drawn {
		b = s.appendEnds(b)
	}
	return b
}

func (s *state) decode(b []byte) error {
	r := reader{b: b}
	s.session = r.uvarint()
	s.next = r.uvarint()
	s.gone = r.spans()
	var names []string
	for range r.upto(uint64(len(r.b)) / minLossBytes) {
		l := loss{offset: r.uvarint(), session: r.uvarint()}
		i := r.upto(uint64(len(names)))
		if i == uint64(len(names)) {
			names = append(names, string(r.bytes(r.upto(maxName))))
		}
		l.source = names[i]
		l.seq = r.uvarint()
		l.n = r.upto(maxLost)
		l.t = r.varint()
		if why := r.bytes(1); why != nil {
			l.reason = Reason(why[0])
		}
		if r.bad {
			break
		}
		s.losses = append(s.losses, l)
	}
	if len(r.b) > 0 { // it was left out at first
		for range r.upto(maxPairs) {
			if r.bad {
				break
			}
			s.newest = append(s.newest, r.table())
		}
	}
	if len(r.b) > 0 && !r.bad {
		s.readEnds(&r)
	}
	if r.bad {
		return errors.New("the state contradicts itself")
	}
	return nil
}

// stateFile writes the slots.
type stateFile struct {
	f          *os.File
	slot       int64
	generation uint64
	buf        []byte
	failed     bool // a write failed: the handle is not trusted
}

// readState reads the newest slot. damaged says that a slot had been written
// and cannot be read. Slots of a newer version alone are [ErrNewer].
func readState(dir string) (s state, generation uint64, damaged bool, err error) {
	f, err := beneath.Open(filepath.Join(dir, stateName))
	if errors.Is(err, os.ErrNotExist) {
		return state{}, 0, false, nil
	}
	if err != nil {
		return state{}, 0, false, err
	}
	defer f.Close()
	size, err := slotSize(f)
	if err != nil {
		return state{}, 0, false, err
	}
	buf := make([]byte, size)
	newer := uint32(0)
	for slot := range int64(2) {
		n, err := f.ReadAt(buf, slot*size)
		if err != nil && !errors.Is(err, io.EOF) {
			return state{}, 0, true, err
		}
		g, t, ok := parseSlot(buf[:n])
		if v, whole := slotVersion(buf[:n]); whole && v > stateVersion {
			newer = max(newer, v)
			continue
		}
		if !ok {
			damaged = damaged || !zero(buf[:n]) || n == 0
			continue
		}
		if g >= generation {
			s, generation = t, g
		}
	}
	if newer > 0 && generation == 0 {
		return state{}, 0, false, fmt.Errorf("%s has format %d, and this version knows %d; run that version again, or use another directory: %w",
			f.Name(), newer, stateVersion, ErrNewer)
	}
	return s, generation, damaged, nil
}

// slotSize returns how long the slots of a state file are. One that is cut
// short has the damage found in them.
func slotSize(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if n := info.Size() / 2; n > stateSlot && n <= maxStateSlot && n&(n-1) == 0 {
		return n, nil
	}
	return stateSlot, nil
}

// slotVersion returns the version a slot says it has, and whether its
// checksum, which no version puts elsewhere, is right.
func slotVersion(b []byte) (version uint32, whole bool) {
	if len(b) < stateFixed || string(b[:4]) != stateMagic {
		return 0, false
	}
	n := binary.LittleEndian.Uint32(b[8:])
	if uint64(n) > uint64(len(b)-stateFixed) {
		return 0, false
	}
	return binary.LittleEndian.Uint32(b[4:]), crc32.Checksum(b[16:stateFixed+n], castagnoli) == binary.LittleEndian.Uint32(b[12:])
}

func zero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func parseSlot(b []byte) (generation uint64, s state, ok bool) {
	if v, whole := slotVersion(b); !whole || v == 0 || v > stateVersion {
		return 0, state{}, false
	}
	b = b[:stateFixed+binary.LittleEndian.Uint32(b[8:])]
	err := s.decode(b[stateFixed:])
	return binary.LittleEndian.Uint64(b[16:]), s, err == nil
}

// openState opens the state file for writing and creates it with its full
// size if it is not there.
func openState(dir string, generation uint64) (*stateFile, error) {
	path := filepath.Join(dir, stateName)
	f, err := beneath.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if err = createState(path, make([]byte, stateSize)); err == nil {
			f, err = beneath.OpenFile(path, os.O_RDWR, 0)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the state file: %w", err)
	}
	size, err := slotSize(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("opening the state file: %w", err)
	}
	return &stateFile{f: f, slot: size, generation: generation}, nil
}

func createState(path string, slots []byte) error {
	tmp := path + ".tmp"
	err := beneath.WriteFile(tmp, slots, 0o600)
	if err == nil {
		err = publish(tmp, path)
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// write stores s in the older slot and returns when it is synced.
func (f *stateFile) write(s *state) error {
	f.buf = append(f.buf[:0], make([]byte, stateFixed)...)
	f.buf = s.encode(f.buf)
	b := f.buf
	g := f.generation + 1
	copy(b, stateMagic)
	binary.LittleEndian.PutUint32(b[4:], stateVersion)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-stateFixed))
	binary.LittleEndian.PutUint64(b[16:], g)
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
	if err := f.put(b, g); err != nil {
		f.failed = true
		return err
	}
	// Only now: after a failed write the same slot is tried again, and the
	// other one stays whole.
	f.generation = g
	return nil
}

func (f *stateFile) put(b []byte, generation uint64) error {
	if f.failed {
		// The disk may be another one by now, or mounted anew.
		if err := f.reopen(); err != nil {
			return err
		}
	}
	if int64(len(b)) > f.slot/2 && f.slot < maxStateSlot {
		err := f.grow(b, generation)
		if err == nil || int64(len(b)) > f.slot || !named(f.f) {
			return err
		}
	}
	if int64(len(b)) > f.slot {
		return fmt.Errorf("the state needs %d bytes and can have %d", len(b), f.slot)
	}
	if _, err := f.f.WriteAt(b, int64(generation%2)*f.slot); err != nil {
		return fmt.Errorf("writing the state file: %w", err)
	}
	if err := f.f.Sync(); err != nil {
		return fmt.Errorf("syncing the state file: %w", err)
	}
	if !named(f.f) {
		return fmt.Errorf("%s was removed or replaced while it was in use", f.f.Name())
	}
	return nil
}

// grow puts a file with bigger slots, which has b in one of them, in the place
// of the state file. That takes space: it is tried while b still has room.
func (f *stateFile) grow(b []byte, generation uint64) error {
	slot := f.slot
	for int64(len(b)) > slot/2 && slot < maxStateSlot {
		slot *= 2
	}
	slots := make([]byte, 2*slot)
	copy(slots[int64(generation%2)*slot:], b)
	if err := createState(f.f.Name(), slots); err != nil {
		return fmt.Errorf("making the state file bigger: %w", err)
	}
	return f.reopen()
}

// reopen opens the file that has the name, and sees to it that it keeps it.
func (f *stateFile) reopen() error {
	dir := filepath.Dir(f.f.Name())
	fresh, err := openState(dir, f.generation)
	if err == nil {
		if err = syncDir(dir); err != nil {
			_ = fresh.close()
		}
	}
	if err != nil {
		return err
	}
	_ = f.f.Close()
	f.f, f.slot, f.failed = fresh.f, fresh.slot, false
	return nil
}

// size is what the file takes, and what it will take more while it grows, as
// soon as that is near.
func (f *stateFile) size() int64 {
	if int64(len(f.buf)) > f.slot/4 {
		return 6 * f.slot // twice the size, beside it
	}
	return 2 * f.slot
}

func (f *stateFile) close() error { return f.f.Close() }
