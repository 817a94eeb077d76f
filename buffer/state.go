package buffer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
)

// The state file has two slots of fixed size that are written in turn, so
// that power may fail during a write, and so that a full disk does not stop
// an eviction from being accounted for: no new space is needed.
const (
	stateName     = "state"
	stateSlot     = 64 << 10
	stateSize     = 2 * stateSlot
	stateMagic    = "FFst"
	stateVersion  = 2  // 1 had no journal
	stateFixed    = 24 // magic, version, length, CRC32C, generation
	maxSpansState = 1024
	maxLosses     = 512 // loss records kept outside of segments
)

// state is what has to outlive the segments: the session, what is no longer
// needed, and the losses that stand for evicted or damaged segments.
type state struct {
	session uint64
	next    uint64
	gone    []span
	losses  []loss
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
	return b
}

func (s *state) decode(b []byte) error {
	r := reader{b: b}
	s.session = r.uvarint()
	s.next = r.uvarint()
	s.gone = r.spans()
	var names []string
	for range r.upto(maxLosses * 2) {
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
	if r.bad {
		return errors.New("the state contradicts itself")
	}
	return nil
}

// stateFile writes the slots.
type stateFile struct {
	f          *os.File
	generation uint64
	buf        []byte
	failed     bool // a write failed: the handle is not trusted
}

// readState reads the newest slot. damaged says that a slot had been written
// and cannot be read. Slots of a newer version alone are [ErrNewer].
func readState(dir string) (s state, generation uint64, damaged bool, err error) {
	f, err := os.Open(filepath.Join(dir, stateName))
	if errors.Is(err, os.ErrNotExist) {
		return state{}, 0, false, nil
	}
	if err != nil {
		return state{}, 0, false, err
	}
	defer f.Close()
	buf := make([]byte, stateSlot)
	newer := uint32(0)
	for slot := range int64(2) {
		n, err := f.ReadAt(buf, slot*stateSlot)
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
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if err = createState(path); err == nil {
			f, err = os.OpenFile(path, os.O_RDWR, 0)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("opening the state file: %w", err)
	}
	return &stateFile{f: f, generation: generation}, nil
}

func createState(path string) error {
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, make([]byte, stateSize), 0o600); err != nil {
		return err
	}
	return publish(tmp, path)
}

// write stores s in the older slot and returns when it is synced.
func (f *stateFile) write(s *state) error {
	f.buf = append(f.buf[:0], make([]byte, stateFixed)...)
	f.buf = s.encode(f.buf)
	if len(f.buf) > stateSlot {
		return fmt.Errorf("the state needs %d bytes and has %d", len(f.buf), stateSlot)
	}
	b := f.buf
	g := f.generation + 1
	copy(b, stateMagic)
	binary.LittleEndian.PutUint32(b[4:], stateVersion)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(b)-stateFixed))
	binary.LittleEndian.PutUint64(b[16:], g)
	binary.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
	if err := f.put(b, int64(g%2)*stateSlot); err != nil {
		f.failed = true
		return err
	}
	// Only now: after a failed write the same slot is tried again, and the
	// other one stays whole.
	f.generation = g
	return nil
}

func (f *stateFile) put(b []byte, at int64) error {
	if f.failed {
		// The disk may be another one by now, or mounted anew.
		fresh, err := openState(filepath.Dir(f.f.Name()), f.generation)
		if err != nil {
			return err
		}
		_ = f.f.Close()
		f.f, f.failed = fresh.f, false
	}
	if _, err := f.f.WriteAt(b, at); err != nil {
		return fmt.Errorf("writing the state file: %w", err)
	}
	if err := f.f.Sync(); err != nil {
		return fmt.Errorf("syncing the state file: %w", err)
	}
	return nil
}

func (f *stateFile) close() error { return f.f.Close() }
