package modbus

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus"
	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

// sparse are the registers that the units of a simulation have: single ones
// and a pair, with unused ones between them. Each holds its address and unit.
var sparse = []int{0, 1, 20, 40, 41, 60, 80}

func sparseReply(q []byte) []byte {
	first, n := int(binary.BigEndian.Uint16(q[2:])), int(binary.BigEndian.Uint16(q[4:]))
	words := make([]uint16, n)
	for i := range words {
		if a := first + i; a < 500 && !strings.Contains(" 0 1 20 40 41 60 80 ", fmt.Sprintf(" %d ", a)) {
			return modbustest.Exception(q, 2)
		}
		words[i] = uint16(first+i)<<4 | uint16(q[0])
	}
	return modbustest.Reply(q, words...)
}

// law checks what a line delivers against what the registers hold.
type law struct {
	values, wrong int
	calm          time.Time // from then on nothing is refused that exists
	broken        []string
	start         time.Time
	trace         func(what string, p []byte)
}

func (w *law) Event(bus.Event) {}

func (w *law) Reading(r *Reading) {
	unit := uint64(r.Device[0] - '0')
	for _, v := range r.Values {
		w.values++
		if a, _ := strconv.ParseUint(v.Name[1:], 10, 16); v.Uint != a<<4|unit {
			w.wrong++
			if w.trace != nil {
				w.trace("WRONG "+v.Name, nil)
			}
			w.broken = append(w.broken, fmt.Sprintf("WRONG VALUE: register %s of %s is %d of unit %d", v.Name, r.Device, v.Uint>>4, v.Uint&15))
		}
	}
	for _, f := range r.Failures {
		if !w.calm.IsZero() && time.Now().After(w.calm) && strings.Contains(f.Err, "exception 2") {
			w.broken = append(w.broken, fmt.Sprintf("register %s of %s exists: %s", f.Name, r.Device, f.Err))
		}
	}
}

func sparseDevices() (devices []Device) {
	for _, name := range []string{"1", "2"} {
		d := Device{Name: name, UnitID: name[0] - '0', MaxGap: 8, Registers: registers(sparse...)}
		for i := range d.Registers {
			d.Registers[i].Interval = 500 * time.Millisecond
		}
		devices = append(devices, d)
	}
	return devices
}

// chaos runs a line of two units through a minute of faults.
func chaos(t *testing.T, seed uint64) (w *law, requests uint64) {
	const faulty = 40 * time.Second
	w = &law{start: time.Now(), calm: time.Now().Add(faulty + 6*time.Second)}
	world := modbustest.NewChaos(seed, sparseReply)
	world.Faults = []int{0, 2, 6, 12}[seed%4]
	world.Until = time.Now().Add(faulty)
	var served sync.WaitGroup
	cfg := LineConfig{Name: "l", Port: "memory", Retries: int(seed / 4 % 2), Devices: sparseDevices()}
	line, err := newLine(cfg, Endpoint{}, discard, func(context.Context) (rtu.Port, error) {
		master, far := modbustest.NewWire()
		served.Go(func() { modbustest.Serve(t.Context(), traced(t, w, seed, far), world.Answer) })
		return master, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), faulty+10*time.Second)
	defer cancel()
	if err := line.Run(ctx, w); err != nil {
		t.Fatal(err)
	}
	served.Wait()
	return w, line.Stats().Requests
}

// traced prints what is on the wire in the run FIELDFERRY_CHAOS_SEED names.
func traced(t *testing.T, w *law, seed uint64, far *modbustest.SlaveEnd) io.ReadWriteCloser {
	if os.Getenv("FIELDFERRY_CHAOS_SEED") != fmt.Sprint(seed) {
		return far
	}
	w.trace = func(what string, p []byte) { t.Logf("%10.3f %s % x", time.Since(w.start).Seconds(), what, p) }
	return tracer{far, w.trace}
}

type tracer struct {
	*modbustest.SlaveEnd
	trace func(what string, p []byte)
}

func (r tracer) Read(p []byte) (int, error) {
	n, err := r.SlaveEnd.Read(p)
	r.trace(">", p[:n])
	return n, err
}

func (r tracer) Write(p []byte) (int, error) {
	r.trace("<", p)
	return r.SlaveEnd.Write(p)
}

// TestNoChaosYieldsAWrongValue polls two devices of different speed, that
// refuse the registers they do not have, through all faults at once. More runs:
//
//	FIELDFERRY_CHAOS=20000 go test ./bus/modbus -run Chaos -v
func TestNoChaosYieldsAWrongValue(t *testing.T) {
	values, wrong, requests, bad := 0, 0, uint64(0), 0
	for seed := range modbustest.ChaosSeeds(100, os.Getenv) {
		var w *law
		synctest.Test(t, func(t *testing.T) {
			n := uint64(0)
			w, n = chaos(t, seed)
			values, wrong, requests = values+w.values, wrong+w.wrong, requests+n
		})
		if len(w.broken) > 0 {
			if bad++; bad <= 10 {
				t.Errorf("seed %d: %d broken: %s", seed, len(w.broken), w.broken[0])
			}
		}
	}
	t.Logf("%d requests, %d values, %d wrong, %d bad runs", requests, values, wrong, bad)
}

// TestNoChaosOnATerminal is the same on pseudo-terminals in real time, many
// lines at once, and so only on request:
//
//	FIELDFERRY_CHAOS_TERMINALS=200 go test ./bus/modbus -run Terminal -v
func TestNoChaosOnATerminal(t *testing.T) {
	lines, _ := strconv.Atoi(os.Getenv("FIELDFERRY_CHAOS_TERMINALS"))
	if lines == 0 {
		t.Skip("takes a minute; set FIELDFERRY_CHAOS_TERMINALS to how many lines")
	}
	laws, requests := make([]law, lines), make([]uint64, lines)
	var all sync.WaitGroup
	for i := range laws {
		all.Go(func() { requests[i] = onTerminal(t, uint64(i), &laws[i]) })
	}
	all.Wait()
	values, wrong, sum := 0, 0, uint64(0)
	for i := range laws {
		values, wrong, sum = values+laws[i].values, wrong+laws[i].wrong, sum+requests[i]
		for _, b := range laws[i].broken {
			t.Errorf("seed %d: %s", i, b)
		}
	}
	t.Logf("%d requests, %d values, %d wrong", sum, values, wrong)
}

func onTerminal(t *testing.T, seed uint64, w *law) (requests uint64) {
	pty, err := modbustest.OpenPTY()
	if err != nil {
		t.Error(err)
		return 0
	}
	defer pty.Close()
	world := modbustest.NewChaos(seed, sparseReply)
	world.Faults = []int{0, 2, 6, 12}[seed%4]
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
	defer cancel()
	var served sync.WaitGroup
	served.Go(func() { modbustest.Serve(ctx, pty, world.Answer) })
	line, err := NewLine(LineConfig{Name: "l", Port: pty.Path, Retries: int(seed / 4 % 2), Devices: sparseDevices()}, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	if err := line.Run(ctx, w); err != nil {
		t.Error(err)
	}
	served.Wait()
	return line.Stats().Requests
}

// TestLateRefusals: a device that takes 0.7 s for each answer, always or for
// four of twenty seconds, and refuses the registers between the three it has.
func TestLateRefusals(t *testing.T) {
	for _, retries := range []int{0, 1} {
		for _, always := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				start, free := time.Now(), time.Time{}
				slow := func() bool { return always || time.Since(start)%(20*time.Second)/time.Second/4 == 1 }
				w := &law{start: start}
				var served sync.WaitGroup
				device := Device{Name: "1", UnitID: 1, MaxGap: 8, Registers: registers(0, 20, 60)}
				line, err := newLine(LineConfig{Name: "l", Port: "memory", Retries: retries, Devices: []Device{device}}, Endpoint{}, discard,
					func(context.Context) (rtu.Port, error) {
						master, far := modbustest.NewWire()
						served.Go(func() {
							modbustest.Serve(t.Context(), far, func(_ int, q []byte) []modbustest.Step {
								now, at := time.Now(), 40*ms
								if slow() {
									at = 700 * ms
								}
								at = max(at, free.Sub(now)+20*ms)
								free = now.Add(at)
								return []modbustest.Step{{At: at, Send: sparseReply(q)}}
							})
						})
						return master, nil
					})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				if err := line.Run(ctx, quickLaw{w, func() bool { return !slow() && time.Since(start)%(20*time.Second) > 11*time.Second }}); err != nil {
					t.Fatal(err)
				}
				served.Wait()
				for _, b := range w.broken {
					t.Errorf("%d retries, always slow %v: %s", retries, always, b)
				}
				if !always && w.values < 150 {
					t.Errorf("%d values", w.values)
				}
			})
		}
	}
}

// quickLaw also forbids refusals while the device has been quick for a while.
type quickLaw struct {
	*law
	quick func() bool
}

func (q quickLaw) Reading(r *Reading) {
	q.calm = time.Time{}
	if q.quick() {
		q.calm = q.start
	}
	q.law.Reading(r)
}
