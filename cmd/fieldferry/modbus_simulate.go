package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
	"fieldferry/gateway/config"

	"github.com/spf13/cobra"
)

type simulateOptions struct {
	lineOptions
	duration time.Duration
	pace     bool
}

func (a *app) newModbusSimulateCommand() *cobra.Command {
	var o simulateOptions
	c := &cobra.Command{
		Use:   "simulate MAP",
		Short: "Be the Modbus slaves of a register map, on a serial port, a new pseudo-terminal or TCP",
		Long: `simulate answers as the slaves that a YAML register map describes, with values
that move and faults where wanted. Without --port it makes a pseudo-terminal
and prints its path; --port tcp://HOST:PORT and rtu+tcp://HOST:PORT listen.

  units:
    - unit_id: 17
      delay: 20ms
      registers:
        - {register: holding, address: 352, value: 555}
        - {register: input, address: 0, type: float32, value: 230, moves: sine, amplitude: 2, period: 10s}
        - {register: holding, address: 10, values: [1, 2, 0xFFFF]}
        - {register: coil, address: 0, value: true, moves: toggle, period: 5s}
      faults: {silent: 5%, late: 1%, late_by: 400ms, bad_crc: 1%, exception: 1%, exception_code: 6}

Further keys are those of the configuration's registers, max_registers of a unit,
and the faults truncate, wrong_unit, duplicate, noise, byte_gap: 5ms, echo: true.
moves: sine and random by amplitude to both sides of value, ramp by it above; counter
by rate each second; toggle twice in period.

A pseudo-terminal has no baud rate: scan --sweep finds the unit in every setting.

Masters may write holding registers and coils, and each write is shown; what
moves moves on.`,
		Example: `  fieldferry modbus simulate map.yaml
  fieldferry modbus simulate map.yaml --port tcp://127.0.0.1:1502 --for 10m`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.modbusSimulate(c.Context(), o, args[0]) },
	}
	f := c.Flags()
	o.addFlags(f)
	for _, name := range []string{"timeout", "retries", "turnaround"} {
		_ = f.MarkHidden(name)
	}
	addFor(f, &o.duration)
	f.BoolVar(&o.pace, "pace", false, "take the time of the characters at --baud, where the line has none")
	return c
}

func (a *app) modbusSimulate(ctx context.Context, o simulateOptions, path string) error {
	port := o.port
	if port == "" || strings.Contains(port, "://") {
		o.port = "none" // the settings are checked all the same
	}
	line, err := o.session()
	if err != nil {
		return err
	}
	simulation, problems := config.LoadSimulation(path, config.Options{Getenv: a.getenv})
	for _, p := range problems {
		a.warn("%s", p)
	}
	if simulation == nil {
		return &exitError{code: exitUsage}
	}
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	units := map[byte]*modbustest.Unit{}
	for i := range simulation.Units {
		u := &simulation.Units[i]
		units[u.UnitID] = newSimulatedUnit(u)
	}
	slave := modbustest.NewSlave(units)
	if o.pace {
		slave.Pace = line.Mode
	}
	writes := 0 // of one goroutine at a time
	slave.OnWrite = func(w modbustest.Write) {
		writes++
		a.warn("%s %s", w.At.Format("15:04:05.000"), written(w))
	}
	defer func() { a.warn("%d requests, %d of them writes", slave.Requests(), writes) }()
	if scheme, address, ok := strings.Cut(port, "://"); ok {
		return a.simulateOnTCP(ctx, slave, scheme, address)
	}
	far, name, err := simulatedPort(port, line.Mode, line.RS485)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, name)
	slave.Run(ctx, far)
	if ctx.Err() == nil {
		return fmt.Errorf("%s: the line is gone", name)
	}
	return nil
}

// written is a write as modbus write takes it.
func written(w modbustest.Write) string {
	table := modbus.Holding
	if w.Function == 5 || w.Function == 15 {
		table = modbus.Coil
	}
	values := fmt.Sprint(w.Words)
	return fmt.Sprintf("unit %d function %d: %v:%d = %s", w.Unit, w.Function, table, w.Address, values[1:len(values)-1])
}

// simulatedPort opens a serial port, or makes a pseudo-terminal when there is
// no path.
func simulatedPort(path string, mode rtu.Mode, rs485 rtu.RS485) (io.ReadWriteCloser, string, error) {
	if path == "" {
		p, err := modbustest.OpenPTY()
		if err != nil {
			return nil, "", err
		}
		return p, p.Path, nil
	}
	p, err := rtu.Open(rtu.PortConfig{Path: path, Mode: mode, RS485: rs485})
	if err != nil {
		return nil, "", advisePort(path, "stop it, or leave --port out: a pseudo-terminal is made then", err)
	}
	return p, path, nil
}

func (a *app) simulateOnTCP(ctx context.Context, slave *modbustest.Slave, scheme, address string) error {
	serve := slave.ServeTCP
	switch scheme {
	case "tcp":
	case "rtu+tcp":
		serve = slave.ServeRTUOverTCP
	default:
		return usageError("--port %s://: use a serial device, tcp://HOST:PORT or rtu+tcp://HOST:PORT", scheme)
	}
	l, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return adviceError{error: err, advice: "choose another port, or :0 for a free one"}
	case errors.Is(err, syscall.EACCES):
		return adviceError{error: err, advice: "choose a port from 1024 on, or use sudo"}
	case err != nil:
		return err
	}
	fmt.Fprintf(a.stdout, "%s://%s\n", scheme, l.Addr())
	serve(ctx, l)
	return nil
}

// newSimulatedUnit makes the unit that a register map describes.
func newSimulatedUnit(u *config.SimulatedUnit) *modbustest.Unit {
	f := u.Faults
	unit := &modbustest.Unit{
		Holding: map[uint16]uint16{}, Input: map[uint16]uint16{}, Coils: map[uint16]bool{}, Discrete: map[uint16]bool{},
		Delay: u.Delay, Most: u.MaxRegisters,
		Faults: modbustest.Faults{
			Silent: f.Silent, Late: f.Late, LateBy: f.LateBy, BadCRC: f.BadCRC, Truncate: f.Truncate, WrongUnit: f.WrongUnit,
			Duplicate: f.Duplicate, Noise: f.Noise, Exception: f.Exception, ExceptionCode: f.ExceptionCode, ByteGap: f.ByteGap, Echo: f.Echo,
		},
	}
	for i := range u.Registers {
		put(unit, &u.Registers[i], u.Registers[i].Value)
	}
	var mu sync.Mutex // several connections may ask at once
	rnd := rand.New(rand.NewPCG(1, uint64(u.UnitID)))
	unit.Update = func(unit *modbustest.Unit, elapsed time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		for i := range u.Registers {
			if r := &u.Registers[i]; r.Moves != "" {
				put(unit, r, moved(r, elapsed, rnd))
			}
		}
	}
	return unit
}

// moved is a value after some time.
func moved(r *config.SimulatedRegister, elapsed time.Duration, rnd *rand.Rand) float64 {
	turns := float64(elapsed) / float64(r.Period)
	_, part := math.Modf(turns)
	switch r.Moves {
	case "sine":
		return r.Value + r.Amplitude*math.Sin(2*math.Pi*turns)
	case "ramp":
		return r.Value + r.Amplitude*part
	case "counter":
		return r.Value + math.Floor(r.Rate*elapsed.Seconds())
	case "random":
		return r.Value + r.Amplitude*(2*rnd.Float64()-1)
	default: // toggle
		if (part < 0.5) == (r.Value != 0) {
			return 1
		}
		return 0
	}
}

// put stores a value; one that the type cannot hold stays as it was.
func put(unit *modbustest.Unit, r *config.SimulatedRegister, v float64) {
	switch r.Table {
	case modbus.Coil:
		putBits(unit.Coils, r, v)
		return
	case modbus.Discrete:
		putBits(unit.Discrete, r, v)
		return
	}
	table := unit.Holding
	if r.Table == modbus.Input {
		table = unit.Input
	}
	words := r.Words
	switch {
	case words != nil:
	case r.Type == modbus.String:
		words = r.EncodeText(r.Text)
	default:
		old := make([]uint16, r.Width())
		for i := range old {
			old[i] = table[r.Address+uint16(i)]
		}
		var err error
		if words, err = r.Encode(v, old); err != nil {
			return
		}
	}
	for i, w := range words {
		table[r.Address+uint16(i)] = w
	}
}

func putBits(table map[uint16]bool, r *config.SimulatedRegister, v float64) {
	if r.Words == nil {
		table[r.Address] = v >= 0.5
	}
	for i, w := range r.Words {
		table[r.Address+uint16(i)] = w != 0
	}
}
