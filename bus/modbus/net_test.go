package modbus

import (
	"context"
	"maps"
	"net"
	"os/exec"
	"testing"
	"time"

	"fieldferry/bus/modbus/modbustest"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Several units behind one connection, in both framings.
func TestLineOverTCP(t *testing.T) {
	for _, scheme := range []string{tcpScheme, rtuTCPScheme} {
		t.Run(scheme, func(t *testing.T) {
			slave := modbustest.NewSlave(map[byte]*modbustest.Unit{
				1: {Holding: map[uint16]uint16{7: 70, 8: 80}}, 2: {Holding: map[uint16]uint16{7: 71}},
			})
			l := listen(t)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			done := make(chan struct{})
			go func() {
				defer close(done)
				if scheme == tcpScheme {
					slave.ServeTCP(ctx, l)
				} else {
					slave.ServeRTUOverTCP(ctx, l)
				}
			}()
			line, err := NewLine(LineConfig{Name: "l", Port: scheme + l.Addr().String(), Devices: []Device{
				{Name: "a", UnitID: 1, Registers: registers(7, 8)}, {Name: "b", UnitID: 2, Registers: registers(7)},
			}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]map[string]string{}
			u := &until{stop: cancel}
			u.ok = func(map[string]string) bool {
				last := u.readings[len(u.readings)-1]
				got[last.Device] = of(last)
				return len(got) == 2
			}
			if err := line.Run(ctx, u); err != nil {
				t.Fatal(err)
			}
			<-done
			if !maps.Equal(got["a"], map[string]string{"r7": "70", "r8": "80"}) || !maps.Equal(got["b"], map[string]string{"r7": "71"}) {
				t.Errorf("got %v", got)
			}
		})
	}
}

// TestAgainstPymodbusTCP polls a TCP server written by others.
func TestAgainstPymodbusTCP(t *testing.T) {
	python := needPymodbus(t)
	l := listen(t)
	address := l.Addr().String()
	l.Close() // the server binds it anew
	server := exec.Command(python, "testdata/pymodbus_server.py", "tcp://"+address)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Process.Kill(); _ = server.Wait() }()
	line, err := NewLine(LineConfig{
		Name: "l", Port: tcpScheme + address, Timeout: 2 * time.Second,
		Devices: []Device{{Name: "d", UnitID: 1, MaxGap: 8, Registers: []Register{
			{Name: "h7", Address: 7}, {Name: "h9", Address: 9, Type: Uint32, Scale: 0.1}, {Name: "i20", Table: Input, Address: 20, Type: Int16},
			{Name: "c3", Table: Coil, Address: 3, Type: Bool}, {Name: "none", Address: 200},
		}}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"h7": "7", "h9": "58983.4", "i20": "1020", "c3": "1", "none": "exception 2: illegal data address"}
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	u := &until{stop: cancel, ok: func(m map[string]string) bool { return maps.Equal(m, want) }}
	for ctx.Err() == nil { // until the server listens
		if err := line.Run(ctx, u); err != nil {
			time.Sleep(50 * time.Millisecond)
		}
	}
	if len(u.readings) == 0 || !maps.Equal(of(u.readings[len(u.readings)-1]), want) {
		t.Errorf("got %v\nwant %v", u.readings, want)
	}
}

func TestParseEndpoint(t *testing.T) {
	for _, c := range []struct {
		port string
		want Endpoint
	}{
		{"/dev/ttyS1", Endpoint{Serial, "/dev/ttyS1"}},
		{"tcp://plc", Endpoint{TCP, "plc:502"}},
		{"tcp://plc:1502/", Endpoint{TCP, "plc:1502"}},
		{"tcp://[fe80::1]", Endpoint{TCP, "[fe80::1]:502"}},
		{"tcp://[::1]:503", Endpoint{TCP, "[::1]:503"}},
		{"rtu+tcp://moxa:4001", Endpoint{RTUOverTCP, "moxa:4001"}},
	} {
		if got, err := ParseEndpoint(c.port); err != nil || got != c.want {
			t.Errorf("%s: %v, %v", c.port, got, err)
		}
	}
	for _, bad := range []string{"", "tcp://", "tcp://:502", "tcp://plc:0", "tcp://plc:70000", "tcp://fe80::1", "rtu+tcp://moxa", "udp://plc:502", "http://plc"} {
		if got, err := ParseEndpoint(bad); err == nil {
			t.Errorf("%q became %v", bad, got)
		}
	}
}
