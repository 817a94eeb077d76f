// Package commission is for the person in front of the cabinet: single reads
// and writes, and the search for devices, each on a line of its own.
//
// # Nouns
//
// A [Session] is an open port with one user. An [Item] is what one request
// reads, a [Result] what came of it. [Scan] asks every unit id whether
// somebody is there.
//
// # Caveats
//
// A Session opened with Writes can change devices. Nothing the daemon is made
// of imports this package, so that the daemon cannot. A Session rather takes
// longer than return a value of which it is not sure.
package commission

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/modbus/tcp"
)

// Config says which line to use and how.
type Config struct {
	Port       string // as in a configuration: a serial device, tcp://, rtu+tcp://
	Mode       rtu.Mode
	Timeout    time.Duration // from the end of a request to the end of its reply
	Retries    int           // further tries after a failed request
	Turnaround time.Duration
	RS485      rtu.RS485
	Writes     bool // allow Write
	// Trace, if set, is shown what passes on the line, as it passes; see [rtu.Traced].
	Trace func(sent bool, b []byte)
}

// Pauses before a unit that asks for patience is asked again.
const (
	acknowledgePause = 500 * time.Millisecond
	reopenPause      = 250 * time.Millisecond
)

// Session is an open line. It is not safe for concurrent use.
type Session struct {
	cfg      Config
	openPort func(context.Context) (rtu.Port, error)
	master   modbus.Master
	port     rtu.Port
	adjusted []string
	network  bool
	proved   bool // the connection has brought a reply
}

// Open opens the line.
func Open(ctx context.Context, cfg Config) (*Session, error) {
	endpoint, err := modbus.ParseEndpoint(cfg.Port)
	if err != nil {
		return nil, err
	}
	s := newSession(cfg, endpoint, func(ctx context.Context) (rtu.Port, error) {
		return endpoint.Open(ctx, rtu.PortConfig{Mode: cfg.Mode, RS485: cfg.RS485})
	})
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func newSession(cfg Config, endpoint modbus.Endpoint, open func(context.Context) (rtu.Port, error)) *Session {
	return &Session{cfg: cfg, openPort: open, master: endpoint.NewMaster(rtu.Config{
		Mode: cfg.Mode, Timeout: cfg.Timeout, Turnaround: cfg.Turnaround, Careful: true, AllowWrites: cfg.Writes,
	}, tcp.Options{}), network: endpoint.Framing.Network()}
}

func (s *Session) open(ctx context.Context) error {
	port, err := s.openPort(ctx)
	if err != nil {
		return err
	}
	if p, ok := port.(*rtu.SerialPort); ok {
		s.adjusted = p.Adjusted()
	}
	if s.cfg.Trace != nil {
		port = rtu.Traced(port, s.cfg.Trace)
	}
	s.port, s.proved = port, false
	s.master.Attach(port)
	return nil
}

// Adjusted lists what the driver set differently from what was asked.
func (s *Session) Adjusted() []string { return s.adjusted }

// Stats are the counters of the line.
func (s *Session) Stats() rtu.Stats { return s.master.Stats() }

// Close gives the line up.
func (s *Session) Close() {
	if s.port != nil {
		_ = s.port.Close()
		s.port = nil
		s.master.Attach(nil)
	}
}

// Pause lets d pass and notes what others say on the line meanwhile.
func (s *Session) Pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	end := time.Now().Add(d)
	var lost *rtu.PortLostError
	err := s.master.Listen(ctx, d)
	if errors.As(err, &lost) {
		s.Close()
		return sleep(ctx, time.Until(end))
	}
	return err
}

// Item is what one request reads.
type Item struct {
	Unit    byte
	Table   modbus.Table
	Address uint16
	Count   int // registers or bits
}

// tableWords are other words for the tables that people type.
var tableWords = map[string]modbus.Table{
	"hr": modbus.Holding, "ir": modbus.Input, "co": modbus.Coil, "coils": modbus.Coil, "di": modbus.Discrete,
}

// ParseItem reads TABLE:ADDRESS[:COUNT], or 40001[:COUNT], where the first digit
// is the table and the others count from 1, as in manuals. UNIT/ before it is
// for another unit than the given one. Count is 0 when it is not there. Numbers
// may be in hex with 0x.
func ParseItem(s string, unit byte) (Item, error) {
	item := Item{Unit: unit}
	rest := s
	if u, after, ok := strings.Cut(s, "/"); ok {
		n, err := ParseUint(u, 8)
		if err != nil {
			return item, fmt.Errorf("%q: unit %q is not a number from 0 to 255", s, u)
		}
		item.Unit, rest = byte(n), after
	}
	parts := strings.Split(rest, ":")
	if table, address, ok := modbus.ParseModicon(parts[0]); ok {
		parts = append([]string{table.String(), strconv.Itoa(int(address))}, parts[1:]...)
	}
	if len(parts) < 2 || len(parts) > 3 {
		return item, fmt.Errorf("%q: write TABLE:ADDRESS or TABLE:ADDRESS:COUNT, such as holding:100:2, or a number of the manual such as 40101:2", s)
	}
	table, err := modbus.ParseTable(parts[0])
	if err != nil {
		known := false
		if table, known = tableWords[parts[0]]; !known {
			return item, fmt.Errorf("%q: %w", s, err)
		}
	}
	item.Table = table
	address, err := ParseUint(parts[1], 16)
	if errors.Is(err, ErrOctal) {
		return item, fmt.Errorf("%q: address %w: write it without zeros if it is the wire's, or alone if it is a manual's, such as 00002 for coil:1", s, err)
	}
	if err != nil {
		return item, fmt.Errorf("%q: address %q is not a number from 0 to 65535", s, parts[1])
	}
	item.Address = uint16(address)
	if len(parts) == 2 {
		return item, nil
	}
	count, err := ParseUint(parts[2], 16)
	if err != nil || count == 0 {
		return item, fmt.Errorf("%q: count %q is not a number from 1 to %d", s, parts[2], item.most())
	}
	item.Count = int(count)
	return item, item.check(s)
}

// ErrOctal is a number such as 010, which is 8 for some and 10 for others.
var ErrOctal = errors.New("begins with zero and could be octal")

// ParseUint reads a number of a person, in decimal, or in hex with 0x.
func ParseUint(s string, bits int) (uint64, error) {
	if octal(s) {
		return 0, fmt.Errorf("%s %w", s, ErrOctal)
	}
	return strconv.ParseUint(s, 0, bits)
}

func octal(s string) bool {
	s = strings.TrimLeft(s, "+-")
	return len(s) > 1 && s[0] == '0' && strings.Trim(s, "0123456789_") == ""
}

// Manual says how a number of a manual is written, of an item that has one for
// its address on the wire; "" if it does not look so.
func (i Item) Manual() string {
	number := strconv.Itoa(int(i.Address))
	table, address, ok := modbus.ParseModicon(number)
	if !ok || table != i.Table {
		return ""
	}
	return fmt.Sprintf("%s is taken as on the wire; the manual's %s is written %s or %v:%d", number, number, number, table, address)
}

func (i Item) most() int {
	if i.Table.Bits() {
		return rtu.MaxBits
	}
	return rtu.MaxRegisters
}

func (i Item) check(s string) error {
	switch {
	case i.Count > i.most():
		return fmt.Errorf("%q: one request reads at most %d", s, i.most())
	case int(i.Address)+i.Count > 1<<16:
		return fmt.Errorf("%q: reaches past address 65535", s)
	}
	return nil
}

// Result is what came of an item: words, bits, or an error.
type Result struct {
	Item
	Words []uint16
	Bits  []bool
	Err   error
	Took  time.Duration
}

// Exception returns the code of a unit's refusal.
func (r *Result) Exception() (code byte, ok bool) {
	var e *rtu.ExceptionError
	if errors.As(r.Err, &e) {
		return e.Code, true
	}
	return 0, false
}

// Read reads one item. It ends within the timeouts of its tries and what must
// be waited for so that no late reply is taken for this one's.
func (s *Session) Read(ctx context.Context, item Item) Result {
	item.Count = max(item.Count, 1)
	r := Result{Item: item}
	if r.Err = item.check(fmt.Sprintf("%v:%d:%d", item.Table, item.Address, item.Count)); r.Err != nil {
		return r
	}
	start := time.Now()
	request := rtu.AppendReadRequest(nil, item.Unit, item.Table.Function(), item.Address, uint16(item.Count))
	reply, err := s.exchange(ctx, request, 1+s.cfg.Retries)
	r.Took = time.Since(start)
	if err != nil {
		r.Err = err
		return r
	}
	data := reply[3 : len(reply)-2]
	if item.Table.Bits() {
		r.Bits = make([]bool, item.Count)
		for i := range r.Bits {
			r.Bits[i] = data[i/8]>>(i%8)&1 != 0
		}
		return r
	}
	r.Words = make([]uint16, item.Count)
	for i := range r.Words {
		r.Words[i] = binary.BigEndian.Uint16(data[2*i:])
	}
	return r
}

// exchange tries a request several times, where that can help.
func (s *Session) exchange(ctx context.Context, request []byte, tries int) (reply []byte, err error) {
	for try := 1; ; try++ {
		reply, err = s.once(ctx, request, try > 1)
		pause, again := worthwhile(err)
		if err == nil || !again || try >= tries || ctx.Err() != nil {
			return reply, err
		}
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

func (s *Session) once(ctx context.Context, request []byte, again bool) ([]byte, error) {
	if s.port == nil {
		if err := s.open(ctx); err != nil {
			return nil, &rtu.PortLostError{Op: "open", Err: err, Connection: s.network}
		}
	}
	send := s.master.SendContext
	if again {
		send = s.master.Resend
	}
	reply, err := send(ctx, request)
	var lost *rtu.PortLostError
	if errors.As(err, &lost) {
		proved := s.proved
		s.Close()
		if s.network && proved && request[1] <= rtu.ReadInputRegisters && ctx.Err() == nil {
			return s.once(ctx, request, again) // it closes after each reply, or when idle
		}
	} else if err == nil || errors.As(err, new(*rtu.ExceptionError)) {
		s.proved = true
	}
	return reply, err
}

// worthwhile says whether asking again can help, and how long to wait before.
func worthwhile(err error) (pause time.Duration, again bool) {
	var (
		exception *rtu.ExceptionError
		lost      *rtu.PortLostError
	)
	switch {
	case errors.As(err, &exception):
		// 5 acknowledge and 6 busy ask for patience; 4 and 10 and others stay.
		return acknowledgePause, exception.Code == 5 || exception.Code == 6
	case errors.As(err, &lost):
		return reopenPause, true
	case errors.Is(err, rtu.ErrRequest):
		return 0, false
	}
	return 0, true
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
