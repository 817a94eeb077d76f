package commission

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

const ms = time.Millisecond

type (
	steps  = []modbustest.Step
	script = func(n int, q []byte) steps // what the far end does after request n
)

// wireCase is a line with a fault on it and what a person must be told.
type wireCase struct {
	name    string
	timeout time.Duration // 300 ms
	retries int
	pause   time.Duration
	items   string // asked for in turn; below
	script  script
	// want has a word per item: v the right value; or the beginning of the
	// error's kind; alternatives with |.
	want   string
	within time.Duration // for all items together
	again  time.Duration // how long the port stays away after an unplug
	daemon bool          // as the daemon's line would ask
}

const threeItems = "17/holding:352 17/holding:353 17/holding:354"

// words are the values of the far end: no two addresses hold the same.
func words(q []byte) (w []uint16) {
	address, count := binary.BigEndian.Uint16(q[2:]), binary.BigEndian.Uint16(q[4:])
	for i := range count {
		w = append(w, (address+i)*8+uint16(q[0]%8))
	}
	return w
}

func right(q []byte) []byte {
	if q[1] <= rtu.ReadDiscreteInputs {
		address, count := binary.BigEndian.Uint16(q[2:]), binary.BigEndian.Uint16(q[4:])
		bits := make([]bool, count)
		for i := range bits {
			bits[i] = (address+uint16(i))%3 == 0
		}
		return modbustest.BitReply(q, bits...)
	}
	return modbustest.Reply(q, words(q)...)
}

func isRight(r *Result) bool {
	q := rtu.AppendReadRequest(nil, r.Unit, r.Table.Function(), r.Address, uint16(r.Count))
	reply := right(q)
	for i, w := range r.Words {
		if w != binary.BigEndian.Uint16(reply[3+2*i:]) {
			return false
		}
	}
	for i, b := range r.Bits {
		if b != (reply[3+i/8]>>(i%8)&1 != 0) {
			return false
		}
	}
	return len(r.Words)+len(r.Bits) == r.Count
}

// kind is a word for what came of an item.
func kind(err error) string {
	var (
		timeout   *rtu.TimeoutError
		crc       *rtu.CRCError
		mismatch  *rtu.MismatchError
		busy      *rtu.BusyError
		exception *rtu.ExceptionError
		lost      *rtu.PortLostError
	)
	switch {
	case err == nil:
		return "v"
	case errors.As(err, &timeout):
		switch {
		case timeout.EchoOnly:
			return "echo"
		case timeout.Received > 0:
			return "cut"
		}
		return "timeout"
	case errors.As(err, &crc):
		return "crc"
	case errors.As(err, &mismatch):
		return "mismatch"
	case errors.As(err, &busy):
		return "busy"
	case errors.As(err, &exception):
		return fmt.Sprint("x", exception.Code)
	case errors.As(err, &lost):
		return "lost"
	}
	return err.Error()
}

// run plays a case and returns what came and how long it took.
func (c *wireCase) run(t *testing.T) (got []string, took time.Duration, details string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var ends []chan struct{}
	var gone time.Time
	open := func(context.Context) (rtu.Port, error) {
		if !gone.IsZero() && time.Since(gone) < c.again {
			return nil, syscall.ENOENT
		}
		master, slave := modbustest.NewWire()
		done := make(chan struct{})
		ends = append(ends, done)
		go func() {
			defer close(done)
			modbustest.Serve(ctx, slave, func(_ int, q []byte) steps {
				n++
				s := c.script(n-1, q)
				for _, step := range s {
					if step.Unplug != nil {
						gone = time.Now().Add(step.At)
					}
				}
				return s
			})
		}()
		return master, nil
	}
	cfg := Config{Mode: rtu.Mode{BaudRate: 9600, DataBits: 8, Parity: 'N', StopBits: 1}, Timeout: c.timeout, Retries: c.retries}
	if cfg.Timeout == 0 {
		cfg.Timeout = 300 * ms
	}
	s := newSession(cfg, modbus.Endpoint{}, open)
	if c.daemon {
		s.master = rtu.NewTransporter(rtu.Config{Mode: cfg.Mode, Timeout: cfg.Timeout})
	}
	if err := s.open(ctx); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	items := c.items
	if items == "" {
		items = threeItems
	}
	for i, text := range strings.Fields(items) {
		item, err := ParseItem(text, 17)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := s.Pause(ctx, c.pause); err != nil {
				t.Fatal(err)
			}
		}
		r := s.Read(ctx, item)
		if r.Err == nil && !isRight(&r) {
			t.Errorf("%s: WRONG VALUE %v %v", text, r.Words, r.Bits)
			got = append(got, "WRONG")
			continue
		}
		got = append(got, kind(r.Err))
		details += fmt.Sprintf(" [%v %v %v]", text, r.Err, r.Took.Round(ms))
	}
	took = time.Since(start)
	s.Close()
	cancel()
	for _, done := range ends {
		<-done
	}
	return got, took, fmt.Sprintf("%d requests;%s", n, details)
}

func (c *wireCase) check(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got, took, details := c.run(t)
		want := strings.Fields(c.want)
		for i := range got {
			fits := false
			for _, w := range strings.Split(want[min(i, len(want)-1)], "|") {
				fits = fits || got[i] == w || w == "e" && got[i] != "v" && got[i] != "WRONG"
			}
			if !fits {
				t.Errorf("item %d: %s, want %v: %s", i, got[i], want[min(i, len(want)-1)], details)
			}
		}
		if c.within > 0 && took > c.within {
			t.Errorf("took %v, want at most %v: %s", took.Round(ms), c.within, details)
		}
	})
}

// TestWireCases plays every case as the verbs ask, and as the daemon asks.
func TestWireCases(t *testing.T) {
	for _, c := range wireCases() {
		t.Run(c.name, c.check)
		c.daemon = true
		t.Run(c.name+", daemon", c.check)
	}
}

// TestWireCasesInARow plays cases picked by chance one behind the other; a
// value may be missing, but none may be wrong.
func TestWireCasesInARow(t *testing.T) {
	rounds := uint64(1000)
	if testing.Short() {
		rounds = 50
	}
	var scripts []script
	for _, c := range wireCases() {
		if c.again == 0 {
			scripts = append(scripts, c.script)
		}
	}
	for seed := range rounds {
		rnd := rand.New(rand.NewPCG(seed, 3))
		row := make([]script, 8)
		for i := range row {
			if rnd.IntN(3) > 0 {
				row[i] = scripts[rnd.IntN(len(scripts))]
			}
		}
		c := wireCase{
			retries: rnd.IntN(3), daemon: rnd.IntN(2) == 0, want: "v|e",
			items: "17/holding:352 17/holding:353 17/holding:352 17/holding:360:2 17/holding:365:2 17/holding:353 17/holding:354",
			script: func(n int, q []byte) steps {
				if n < len(row) && row[n] != nil {
					return row[n](0, q)
				}
				return steps{at(think, right(q))}
			},
		}
		if c.daemon { // it relies on a unit that answers in order
			c.script = inOrder(c.script)
		}
		t.Run(fmt.Sprint(seed), c.check)
	}
}

// inOrder does what follows from one request after what follows from those
// before.
func inOrder(script script) script {
	var free time.Time
	return func(n int, q []byte) steps {
		s := script(n, q)
		wait := max(time.Until(free), 0)
		for i := range s {
			s[i].At += wait
			free = time.Now().Add(s[i].At)
		}
		return s
	}
}
