package commission

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// A far end that closes the connection after each reply is
// scanned and read all the same.
func TestFarEndThatClosesAfterEachReply(t *testing.T) {
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
				modbustest.ServeMBAP(t.Context(), conn, func(_ int, q modbustest.TCPRequest) []modbustest.Step {
					return []modbustest.Step{{Send: q.Frame(right(q.RTU()))}, {Unplug: io.EOF}}
				})
			})
		}
	})
	defer served.Wait()
	defer l.Close()
	port := "tcp://" + l.Addr().String()
	found := 0
	probe, err := ParseItem("holding:0", 1)
	if err != nil {
		t.Fatal(err)
	}
	cfg := ScanConfig{Port: port, First: 1, Last: 6, Modes: []rtu.Mode{{}}, Timeout: time.Second, Probe: probe}
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
