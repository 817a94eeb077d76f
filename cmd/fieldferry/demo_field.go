//go:build !arm && !arm64

package main

import (
	"context"
	_ "embed"
	"math"
	"time"

	"fieldferry/bus/modbus/modbustest"
)

const demoGateway = "demo"

// demoDBC describes the simulated engine's messages.
//
//go:embed demo.dbc
var demoDBC []byte

// demoConfig is the configuration of the demo: the port of the slaves, the
// buffer's directory, the address of the link.
const demoConfig = `# The configuration the demo runs with. A real one differs only in the names:
# interface: can0, port: /dev/ttyS1, servers: [mqtts://broker.example:8883].
# clock: trusted because many a PC has the right time without the kernel knowing.
gateway: {id: ` + demoGateway + `, clock: trusted}
can:
  - interface: sim:engine
    name: engine
    dbc: [engine.dbc]
modbus:
  - name: line1
    port: %s
    baud_rate: 19200
    parity: E
    devices:
      - name: meter
        unit_id: 1
        interval: 500ms
        registers:
          - {name: voltage_l1, register: input, address: 0, type: float32, unit: V}
          - {name: current_l1, register: input, address: 2, type: float32, unit: A}
          - {name: energy, register: holding, address: 40, type: uint32, scale: 0.01, unit: kWh, interval: 2s}
      - name: pump
        unit_id: 2
        interval: 1s
        registers:
          - {name: pressure, register: holding, address: 0, type: int16, scale: 0.01, unit: bar}
          - {name: running, register: coil, address: 0, type: bool}
          - {name: target, register: holding, address: 1, type: int16, scale: 0.01, unit: bar}
commands:
  enabled: true
  points:
    - {name: pump.target, line: line1, device: pump, register: target, min: 1, max: 6, step: 0.1, max_change: 2}
buffer: {path: %s}
uplink:
  servers: ["mqtt://%s"]
  batch: {max_records: 100, max_delay: 200ms}
web: {listen: "127.0.0.1:0", metrics: {signals: [line1/meter/voltage_l1, line1/pump/pressure, engine/EngineSpeed]}}
`

// demoSlaves are a meter and a pump on one pseudo-terminal.
type demoSlaves struct {
	pty  *modbustest.PTY
	stop context.CancelFunc
	done chan struct{}
}

func newDemoSlaves() (*demoSlaves, error) {
	pty, err := modbustest.OpenPTY()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &demoSlaves{pty: pty, stop: cancel, done: make(chan struct{})}
	slave := modbustest.NewSlave(map[byte]*modbustest.Unit{1: newMeter(), 2: newPump()})
	go func() {
		defer close(s.done)
		slave.Run(ctx, pty)
	}()
	return s, nil
}

func (s *demoSlaves) close() {
	s.stop()
	_ = s.pty.Close()
	<-s.done
}

// newMeter is an energy meter under a load that comes and goes.
func newMeter() *modbustest.Unit {
	return &modbustest.Unit{
		Input:   map[uint16]uint16{},
		Holding: map[uint16]uint16{},
		Update: func(u *modbustest.Unit, at time.Duration) {
			t := at.Seconds()
			current := 8 + 5*math.Sin(t/7)
			modbustest.SetFloat32(u.Input, 0, float32(230+2*math.Sin(t/3)))
			modbustest.SetFloat32(u.Input, 2, float32(current))
			modbustest.SetUint32(u.Holding, 40, uint32(1_234_567+t*current))
		},
	}
}

// newPump is a pump that pauses now and then.
func newPump() *modbustest.Unit {
	return &modbustest.Unit{
		Holding: map[uint16]uint16{1: 420}, // the target, which can be written
		Coils:   map[uint16]bool{},
		Update: func(u *modbustest.Unit, at time.Duration) {
			running := int(at.Seconds())%20 < 15
			pressure := 0.2
			if running {
				pressure = float64(int16(u.Holding[1]))/100 + 0.3*math.Sin(at.Seconds())
			}
			u.Coils[0] = running
			u.Holding[0] = uint16(int16(math.Round(pressure * 100)))
		},
	}
}
