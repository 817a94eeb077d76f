package e2e

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// tap is a wire between the daemon and the broker that keeps what the daemon
// sends, packet by packet (MQTT 3.1.1 and 5, section 2.1), and can be cut.
type tap struct {
	listener net.Listener
	target   string
	work     sync.WaitGroup

	mu      sync.Mutex
	conns   []net.Conn
	opened  int
	packets []packet
}

// packet is a control packet of MQTT.
type packet struct {
	kind byte // 8 is SUBSCRIBE
	body []byte
}

func newTap(t *testing.T, target string) *tap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &tap{listener: listener, target: target}
	w.work.Go(w.run)
	t.Cleanup(func() {
		_ = listener.Close()
		w.cut()
		w.work.Wait()
	})
	return w
}

func (w *tap) addr() string { return w.listener.Addr().String() }

func (w *tap) run() {
	for {
		near, err := w.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", w.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, near, far)
		w.opened++
		w.mu.Unlock()
		up, copied := io.Pipe()
		w.work.Go(func() {
			_, _ = io.Copy(far, io.TeeReader(near, copied))
			_ = far.Close()
			_ = near.Close()
			_ = copied.Close()
		})
		w.work.Go(func() { _, _ = io.Copy(near, far); _ = near.Close() })
		w.work.Go(func() { w.listen(up) })
	}
}

// listen takes the packets of one connection.
func (w *tap) listen(r *io.PipeReader) {
	defer r.Close()
	for {
		var first [1]byte
		if _, err := io.ReadFull(r, first[:]); err != nil {
			return
		}
		length, err := binary.ReadUvarint(byteReader{r})
		if err != nil || length > 1<<28 {
			return
		}
		body := make([]byte, length)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		w.mu.Lock()
		w.packets = append(w.packets, packet{first[0] >> 4, body})
		w.mu.Unlock()
	}
}

type byteReader struct{ io.Reader }

func (b byteReader) ReadByte() (byte, error) {
	var p [1]byte
	_, err := io.ReadFull(b.Reader, p[:])
	return p[0], err
}

// cut ends all connections without a word.
func (w *tap) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// connections is how many there have been.
func (w *tap) connections() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.opened
}

// count is how many packets of a kind have a text in them.
func (w *tap) count(kind byte, text string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(slices.DeleteFunc(slices.Clone(w.packets), func(p packet) bool {
		return p.kind != kind || !strings.Contains(string(p.body), text)
	}))
}
