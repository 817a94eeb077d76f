// Command site is what stands around the gateway in the guest: a bus, a broker
// and a slave. It measures programs in instructions, which in that guest are
// the nanoseconds of their CPU time, and prints rows as JSON.
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/cantest"
	"fieldferry/bus/modbus/modbustest"
	"fieldferry/uplink/uplinktest"
)

const (
	iface  = "vcan0"
	period = time.Millisecond // between frames
	short  = 2000             // frames of the short run
	long   = 12000            // frames of the long one
	larger = 52000            // frames of the long one in an outage, where memory grows and is collected seldom
	settle = 5 * time.Second  // until what was begun is done, several times over
	look   = time.Minute      // of a program that has nothing to do, or polls
	gw     = "gateway: {id: gw, clock: trusted}\nbuffer: {path: /tmp/buffer}\nuplink: {servers: [\"mqtt://%s\"]}\n"
	onBus  = gw + "can: [{interface: vcan0, name: bus}]\n"
	dbc    = gw + "can: [{interface: vcan0, name: bus, dbc: [/tmp/bus.dbc]}]\n"
	onLine = gw + "modbus:\n  - {name: line, port: %s, baud_rate: 19200, devices: [{name: meter, unit_id: 1, interval: 100ms, registers: [" +
		"{name: voltage, register: input, address: 0, type: float32}, {name: current, register: input, address: 2, type: float32}]}]}\n"
	network = `VERSION ""
BS_:
BU_: ECU
BO_ 256 Engine: 8 ECU
 SG_ speed : 0|16@1+ (0.125,0) [0|8000] "rpm" ECU
 SG_ torque : 16|8@1- (1,-125) [-125|125] "%" ECU
 SG_ pressure : 24|8@1+ (4,0) [0|1000] "kPa" ECU
 SG_ hours : 32|32@1+ (0.05,0) [0|200000000] "h" ECU
`
)

func main() {
	rows, err := measure()
	var name unix.Utsname
	if err = errors.Join(err, unix.Uname(&name)); err == nil {
		err = json.NewEncoder(os.Stdout).Encode(map[string]any{"kernel": unix.ByteSliceToString(name.Release[:]), "rows": rows})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

// site is what all measurements share.
type site struct {
	broker *uplinktest.Broker
	online chan struct{}
	sender *cantest.Sender
	sent   uint64
	rows   map[string]float64
}

func measure() (map[string]float64, error) {
	s := &site{online: make(chan struct{}, 1), rows: map[string]float64{}}
	began := time.Now()
	var err error
	if s.broker, err = uplinktest.NewBroker(uplinktest.BrokerConfig{}); err != nil {
		return nil, err
	}
	if err := s.broker.Subscribe("fieldferry/gw/status", s.status); err != nil {
		return nil, err
	}
	if s.sender, err = cantest.NewSender(iface); err != nil {
		return nil, err
	}
	if err := os.WriteFile("/tmp/bus.dbc", []byte(network), 0o600); err != nil {
		return nil, err
	}
	for _, step := range []func() error{s.candump, s.bus, s.decoded, s.line} {
		if err := step(); err != nil {
			return nil, err
		}
		fmt.Fprintf(os.Stderr, "# %v of this machine's time, %v\n", time.Since(began).Round(time.Second), s.rows)
	}
	return s.rows, nil
}

func (s *site) status(_ string, payload []byte) {
	if bytes.Contains(payload, []byte(`"online"`)) {
		select {
		case s.online <- struct{}{}:
		default:
		}
	}
}

// program is one that is measured.
type program struct {
	cmd   *exec.Cmd
	log   bytes.Buffer
	began time.Time
	idle  float64 // instructions a second, when there is nothing to do
}

func start(argv ...string) (*program, error) {
	p := &program{cmd: exec.Command(argv[0], argv[1:]...), began: time.Now()}
	p.cmd.Dir = "/tmp"
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	return p, p.cmd.Start()
}

func (p *program) stop() error {
	err := p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait() // candump ends by the signal
	return err
}

// spent is all of the CPU time so far, of threads that have ended too
// (clock_getcpuclockid(3)).
func (p *program) spent() float64 {
	var ts unix.Timespec
	const sched = 2 // of the kernel's posix-timers.h
	if err := unix.ClockGettime(int32(^p.cmd.Process.Pid)<<3|sched, &ts); err != nil {
		panic(fmt.Errorf("CPU time of process %d: %w; its log:\n%s", p.cmd.Process.Pid, err, &p.log))
	}
	return float64(ts.Nano())
}

// over is what is spent while something happens and settles, without what the
// time costs by itself.
func (p *program) over(happens func() error) (float64, error) {
	began, before := time.Now(), p.spent()
	if err := happens(); err != nil {
		return 0, err
	}
	time.Sleep(settle)
	return p.spent() - before - p.idle*time.Since(began).Seconds(), nil
}

// rest measures how much a second costs in which nothing happens.
func (p *program) rest() {
	began, before := time.Now(), p.spent()
	time.Sleep(look)
	p.idle = (p.spent() - before) / time.Since(began).Seconds()
}

// frames measures what one more frame costs: by a long run and a short one, in
// which beginning and end are the same.
func (s *site) frames(p *program, long int) (float64, error) {
	var took [2]float64
	if err := s.send(short); err != nil { // until queues have their size
		return 0, err
	}
	time.Sleep(settle)
	for i, n := range []int{short, long} {
		var err error
		if took[i], err = p.over(func() error { return s.send(n) }); err != nil {
			return 0, err
		}
	}
	return (took[1] - took[0]) / float64(long-short), nil
}

func (s *site) send(n int) error {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for range n {
		f := can.Frame{ID: 256, Len: 8}
		binary.LittleEndian.PutUint64(f.Data[:], s.sent*1_000_003)
		if err := s.sender.Send(f); err != nil {
			return err
		}
		s.sent++
		<-tick.C
	}
	return nil
}

func (s *site) candump() error {
	p, err := start("/lib/ld-linux-armhf.so.3", "--library-path", "/lib", "/bin/candump", "-l", iface)
	if err != nil {
		return err
	}
	time.Sleep(settle)
	if s.rows["candump"], err = s.frames(p, long); err != nil {
		return err
	}
	return p.stop()
}

// gateway starts one and waits until it is connected and has settled.
func (s *site) gateway(format string, args ...any) (*program, error) {
	if err := errors.Join(os.RemoveAll("/tmp/buffer"),
		os.WriteFile("/tmp/f.yaml", fmt.Appendf(nil, format, append([]any{s.broker.Addr()}, args...)...), 0o600)); err != nil {
		return nil, err
	}
	p, err := start("/bin/fieldferry", "run", "-c", "/tmp/f.yaml")
	if err != nil {
		return nil, err
	}
	select {
	case <-s.online:
	case <-time.After(10 * time.Minute): // of the guest's time
		_ = p.stop()
		return nil, fmt.Errorf("the gateway does not connect:\n%s", &p.log)
	}
	time.Sleep(settle)
	return p, nil
}

func (s *site) bus() error {
	p, err := s.gateway(onBus)
	if err != nil {
		return err
	}
	begun, after := p.spent(), time.Since(p.began)
	p.rest()
	s.rows["start"] = begun - p.idle*after.Seconds()
	s.rows["idle second"] = p.idle
	if s.rows["frame online"], err = s.frames(p, long); err != nil {
		return err
	}
	s.broker.Stop()
	time.Sleep(look) // until it tries seldom
	p.rest()
	if s.rows["frame in an outage"], err = s.frames(p, larger); err != nil {
		return err
	}
	if err := s.broker.Start(); err != nil {
		return err
	}
	return p.stop()
}

func (s *site) decoded() error {
	select { // of the gateway before
	case <-s.online:
	default:
	}
	p, err := s.gateway(dbc)
	if err != nil {
		return err
	}
	p.rest()
	if s.rows["decoded frame"], err = s.frames(p, long); err != nil {
		return err
	}
	return p.stop()
}

func (s *site) line() error {
	pty, err := modbustest.OpenPTY()
	if err != nil {
		return err
	}
	defer pty.Close()
	slave := modbustest.NewSlave(map[byte]*modbustest.Unit{1: {Input: map[uint16]uint16{0: 1, 1: 2, 2: 3, 3: 4},
		Update: func(u *modbustest.Unit, at time.Duration) { modbustest.SetFloat32(u.Input, 0, float32(at.Seconds())) }}})
	go slave.Run(context.Background(), pty)
	idle := s.rows["idle second"]
	p, err := s.gateway(onLine, pty.Path)
	if err != nil {
		return err
	}
	p.idle = idle
	before := slave.Requests()
	took, err := p.over(func() error { time.Sleep(look); return nil })
	if err != nil {
		return err
	}
	s.rows["Modbus reading"] = took / float64(slave.Requests()-before)
	return p.stop()
}
