package nbd

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client is a guest's side of the protocol.
type client struct {
	t *testing.T
	net.Conn
}

func serve(t *testing.T) (*Disk, client, string) {
	t.Helper()
	image, socket := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(image, make([]byte, 64*sector), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := Serve(image, socket)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	k := client{t, c}
	k.read(18)
	k.send(uint32(3), uint64(optMagic), uint32(optGo), uint32(6), uint32(0), uint16(0))
	reply := k.read(20 + 12 + 20)
	if size := binary.BigEndian.Uint64(reply[22:]); size != 64*sector {
		t.Fatalf("the disk has %d bytes", size)
	}
	return d, k, image
}

func (c client) send(values ...any) {
	c.t.Helper()
	for _, v := range values {
		if err := binary.Write(c, binary.BigEndian, v); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c client) read(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c client) do(kind, flags uint16, at uint64, n int, data []byte) uint32 {
	c.t.Helper()
	c.send(uint32(requestMagic), flags, kind, uint64(7), at, uint32(n), data)
	r := c.read(16)
	return binary.BigEndian.Uint32(r[4:])
}

func block(b byte, sectors int) []byte { return bytes.Repeat([]byte{b}, sectors*sector) }

func TestOnlyWhatIsFlushedSurvives(t *testing.T) {
	for keep, want := range map[float64]byte{0: 1, 1: 2} {
		d, c, image := serve(t)
		c.do(cmdWrite, 0, 0, 2*sector, block(1, 2))
		c.do(cmdFlush, 0, 0, 0, nil)
		c.do(cmdWrite, 0, 0, sector, block(2, 1))
		c.do(cmdWrite, flagFUA, 8*sector, sector, block(3, 1)) // flushes what came before too
		c.do(cmdWrite, 0, sector, sector, block(2, 1))
		if code := c.do(cmdRead, 0, 0, 2*sector, nil); code != 0 || !bytes.Equal(c.read(2*sector), block(2, 2)) {
			t.Error("the guest does not see what it wrote")
		}
		if code := c.do(cmdRead, 0, 64*sector, sector, nil); code != errInvalid {
			t.Errorf("behind the end: %d", code)
		}
		s := d.Cut(keep, rand.New(rand.NewPCG(1, 1)))
		if s.Lost != 1 || s.Kept != int(keep) || s.Writes != 4 {
			t.Errorf("%+v", s)
		}
		b, err := os.ReadFile(image)
		if err != nil || b[0] != 2 || b[8*sector] != 3 || b[sector] != want {
			t.Errorf("keep %v: %v, %d %d %d", keep, err, b[0], b[8*sector], b[sector])
		}
	}
}

func TestCutAtFlush(t *testing.T) {
	d, c, image := serve(t)
	c.do(cmdWrite, 0, 0, sector, block(1, 1))
	stats := make(chan Stats)
	go func() { stats <- d.CutAtFlush(0, rand.New(rand.NewPCG(1, 1))) }()
	for { // until it is armed
		d.mu.Lock()
		armed := d.atFlush != nil
		d.mu.Unlock()
		if armed {
			break
		}
		runtime.Gosched()
	}
	c.send(uint32(requestMagic), uint16(0), uint16(cmdFlush), uint64(1), uint64(0), uint32(0))
	if s := <-stats; s.Lost != 1 || s.Flushes != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the flush is answered: %v", err)
	}
	if b, err := os.ReadFile(image); err != nil || b[0] != 0 {
		t.Errorf("%v, %d", err, b[0])
	}
}

func TestAnInterruptedClientIsNoHarm(t *testing.T) {
	d, c, _ := serve(t)
	c.send(uint32(requestMagic), uint16(0), uint16(cmdWrite), uint64(1), uint64(0), uint32(sector), []byte("not all of it"))
	c.Close()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if s := d.stats; s.Writes != 0 {
		t.Errorf("%+v", s)
	}
}
