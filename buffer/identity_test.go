package buffer

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

// drawing has sessions drawn as in real life.
func drawing(t *testing.T) {
	counting = false
	t.Cleanup(func() { counting = true })
}

// A number that one buffer has used is not used by another one, nor by a copy:
// whatever happens to the directory, no session comes twice, and within one
// buffer they grow.
func TestNoSessionTwice(t *testing.T) {
	drawing(t)
	used := map[uint64]string{}
	live := func(t *testing.T, dir, what string) uint64 {
		t.Helper()
		b := mustOpen(t, Config{Dir: dir, SyncInterval: time.Millisecond, SegmentSize: 64 << 10, MaxSize: 1 << 20})
		addRecords(b, 5)
		s := b.Stats().Session
		if before, twice := used[s]; twice || s == 0 || s > maxSession {
			t.Errorf("%s has session %d, as %q had", what, s, before)
		}
		used[s] = what
		mustClose(t, b)
		return s
	}
	dir := filepath.Join(t.TempDir(), "b")
	grows := func(what string, n int) {
		t.Helper()
		last := uint64(0)
		for range n {
			s := live(t, dir, what)
			if s <= last {
				t.Errorf("%s: session %d follows %d", what, s, last)
			}
			last = s
		}
	}
	grows("the first card", 5)
	image := filepath.Join(t.TempDir(), "image")
	copyTree(t, dir, image)
	grows("after the image was taken", 20)
	for range 3 {
		clone := filepath.Join(t.TempDir(), "clone")
		copyTree(t, image, clone)
		last := live(t, clone, "a clone")
		for range 10 {
			s := live(t, clone, "a clone")
			if s <= last {
				t.Errorf("session %d of a clone follows %d", s, last)
			}
			last = s
		}
	}
	for range 10 {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		grows("a new card", 3)
	}
	for range 3 {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		copyTree(t, image, dir)
		grows("the restored image", 10)
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if out, err := exec.Command("cp", "-a", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v\n%s", err, out)
	}
}

// Over millions of starts sessions grow, stay below 2^31, and never end; no
// alarm id of a version that counted sessions is reached.
func TestSessionsLast(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	s, err := nextSession(0, true, rng.Uint64N)
	for n := range 3_000_000 {
		next, e := nextSession(s, false, rng.Uint64N)
		if e != nil || next <= s || next > maxSession || maxSession-s > last && next < s+apart {
			t.Fatalf("start %d: session %d follows %d: %v, %v", n, next, s, err, e)
		}
		s = next
	}
	if _, err := nextSession(maxSession, false, rng.Uint64N); err != errSessions {
		t.Errorf("behind the last one: %v", err)
	}
	for _, prev := range []uint64{0, 1, 500, 300_000, 4_000_000} {
		s, err := nextSession(prev, true, func(uint64) uint64 { return 0 })
		// Today's ids are session * 2^22 + n; those of then were session * 10^9 + n.
		if err != nil || s<<22 <= (prev+1)*1_000_000_000 || s > lastFirst {
			t.Errorf("%d is followed by %d: %v", prev, s, err)
		}
	}
}

// How often a restored image meets a session of the original is what
// docs/decisions/identity.md says: about starts since the image / 100,000.
func TestOddsOfARestoredImage(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	met, trials := 0, 2000
	for range trials {
		image, _ := nextSession(0, true, rng.Uint64N)
		used := map[uint64]bool{}
		s := image
		for range 100 {
			s, _ = nextSession(s, false, rng.Uint64N)
			used[s] = true
		}
		s = image
		for range 100 {
			if s, _ = nextSession(s, false, rng.Uint64N); used[s] {
				met++
			}
		}
	}
	if met > trials/100 { // expected: 0.1 %
		t.Errorf("%d of %d restored images met a session after 100 starts each", met, trials)
	}
}

// A session says how the one before it has ended, and what was on disk.
func TestEndings(t *testing.T) {
	cfg := testConfig(t)
	cfg.SyncInterval = time.Hour
	b := mustOpen(t, cfg)
	if e := b.Endings(); len(e) > 0 {
		t.Errorf("a new buffer has %v", e)
	}
	addRecords(b, 10)
	b.Source("quiet")
	mustClose(t, b)
	b = mustOpen(t, cfg)
	check := func(want ...Ending) {
		t.Helper()
		if got := b.Endings(); !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	check(Ending{1, true, map[string]uint64{"engine": 10}})
	// Two bad ends in a row: the second life may not have lived to report the first.
	addRecords(b, 7)
	if err := Commit(b); err != nil {
		t.Fatal(err)
	}
	addRecords(b, 5)
	crash := func() {
		t.Helper()
		image := filepath.Join(t.TempDir(), "crashed")
		copyTree(t, cfg.Dir, image)
		mustClose(t, b)
		cfg.Dir = image
		b = mustOpen(t, cfg)
	}
	crash()
	check(Ending{2, false, map[string]uint64{"engine": 7}}, Ending{1, true, map[string]uint64{"engine": 10}})
	crash()
	check(Ending{3, false, map[string]uint64{}}, Ending{2, false, map[string]uint64{"engine": 7}}, Ending{1, true, map[string]uint64{"engine": 10}})
	b.Ack(0, ^uint64(0))
	addRecords(b, 3)
	mustClose(t, b)
	if _, err := Compact(cfg.Dir, false, nil, nil); err != nil { // takes a session and reports nothing
		t.Fatal(err)
	}
	b = mustOpen(t, cfg)
	check(Ending{4, true, map[string]uint64{"engine": 3}})
	mustClose(t, b)
}

// What is stored and acknowledged leaves its files; its last number stays known.
func TestEndingAfterAcknowledgements(t *testing.T) {
	cfg := testConfig(t)
	b := mustOpen(t, cfg)
	addRecords(b, 100)
	if err := Commit(b); err != nil {
		t.Fatal(err)
	}
	b.Ack(0, ^uint64(0))
	b.disk.Lock()
	if err := b.storeState(); err != nil {
		t.Error(err)
	}
	b.disk.Unlock()
	image := filepath.Join(t.TempDir(), "crashed")
	copyTree(t, cfg.Dir, image)
	mustClose(t, b)
	b = mustOpen(t, Config{Dir: image, SyncInterval: time.Second})
	defer mustClose(t, b)
	if e := b.Endings(); len(e) != 1 || e[0].Clean || e[0].Stored["engine"] != 100 {
		t.Errorf("%v", e)
	}
}

// A state of a version that counted sessions is read, and what is written now
// is read by it: it ignores the end.
func TestStateOfAVersionThatCounted(t *testing.T) {
	drawing(t)
	cfg := testConfig(t)
	old := state{session: 41, next: 7}
	body := old.encode(make([]byte, stateFixed))
	copy(body, stateMagic)
	binary.LittleEndian.PutUint32(body[4:], stateVersion)
	binary.LittleEndian.PutUint32(body[8:], uint32(len(body)-stateFixed))
	binary.LittleEndian.PutUint64(body[16:], 1)
	binary.LittleEndian.PutUint32(body[12:], crc32.Checksum(body[16:], castagnoli))
	file := make([]byte, stateSize)
	copy(file[stateSlot:], body)
	if err := os.WriteFile(filepath.Join(cfg.Dir, stateName), file, 0o600); err != nil {
		t.Fatal(err)
	}
	b := mustOpen(t, cfg)
	s := b.Stats().Session
	if s < firstSession || s >= lastFirst {
		t.Errorf("session 41 is followed by %d", s)
	}
	if e := b.Endings(); len(e) != 1 || e[0].Session != 41 || e[0].Clean {
		t.Errorf("%v: nobody knows how it ended", e)
	}
	mustClose(t, b)
	b = mustOpen(t, cfg)
	if next := b.Stats().Session; next <= s || next > s+1<<20 {
		t.Errorf("session %d is followed by %d", s, next)
	}
	mustClose(t, b)
}
