package commission

import (
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// closes listens for connections whose far end answers so.
func closes(t *testing.T, answer func(q modbustest.TCPRequest) []modbustest.Step) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				modbustest.ServeMBAP(t.Context(), conn, func(_ int, q modbustest.TCPRequest) []modbustest.Step { return answer(q) })
			})
		}
	})
	t.Cleanup(func() { l.Close(); served.Wait() })
	return "tcp://" + l.Addr().String()
}

// A far end that closes the connection in place of every reply is asked as
// often as there are tries, and not for ever.
func TestFarEndThatOnlyCloses(t *testing.T) {
	for _, retries := range []int{0, 2} {
		var asked atomic.Int32
		port := closes(t, func(modbustest.TCPRequest) []modbustest.Step {
			if asked.Add(1) > 10 {
				return []modbustest.Step{{At: time.Minute}} // it has been proved by now
			}
			return []modbustest.Step{{Unplug: io.EOF}}
		})
		s, err := Open(t.Context(), Config{Port: port, Timeout: 5 * time.Second, Retries: retries})
		if err != nil {
			t.Fatal(err)
		}
		r := s.Read(t.Context(), Item{Unit: 1, Address: 7, Count: 1})
		if n := int(asked.Load()); !errors.As(r.Err, new(*rtu.PortLostError)) || n != 1+retries {
			t.Errorf("%d retries: %d requests, %v", retries, n, r.Err)
		}
		s.Close()
	}
}

// A far end that closes the connection after each reply is
// scanned and read all the same.
func TestFarEndThatClosesAfterEachReply(t *testing.T) {
	port := closes(t, func(q modbustest.TCPRequest) []modbustest.Step {
		return []modbustest.Step{{Send: q.Frame(right(q.RTU()))}, {Unplug: io.EOF}}
	})
	found := 0
	probe, err := ParseItem("holding:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	cfg := ScanConfig{Port: port, Units: []byte{1, 2, 3, 4, 5, 6}, Modes: []rtu.Mode{{}}, Timeout: time.Second, Probes: []Item{probe}}
	if _, err := Scan(t.Context(), cfg, func(Found) { found++ }, func(int, int) {}); err != nil || found != 6 {
		t.Errorf("scan found %d of 6 units: %v", found, err)
	}
	s, err := Open(t.Context(), Config{Port: port, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for a := range uint16(5) {
		if r := s.Read(t.Context(), Item{Unit: 1, Address: a, Count: 1}); r.Err != nil || !isRight(&r) {
			t.Errorf("holding:%d: %v", a, r.Err)
		}
	}
}
