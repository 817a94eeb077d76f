package command

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/rtu"
	"fieldferry/bus/permit"
	"fieldferry/bus/scalar"
)

// fakeLine holds some registers and does what it is told.
type fakeLine struct {
	held   []uint16
	keeps  []uint16 // in place of what is written
	err    error    // of the write
	unread error
	sent   bool // with err
	guard  uint16
	wrote  [][]uint16
	order  modbus.Order
}

func (f *fakeLine) Write(_ context.Context, o modbus.Order) (modbus.Written, error) {
	f.order = o
	var got modbus.Written
	if o.Guard != nil {
		if err := o.Guard.Holds([]uint16{f.guard}); err != nil {
			return got, err
		}
	}
	if o.Before {
		got.Held = f.held
	}
	words, err := o.Words(got.Held)
	if err != nil {
		return got, err
	}
	if f.err != nil && !f.sent {
		return got, f.err
	}
	f.wrote = append(f.wrote, words)
	f.held, got.Sent, got.Words = words, true, words
	if f.keeps != nil {
		f.held = f.keeps
	}
	if o.After && f.unread == nil {
		got.Read = f.held
	} else if o.After {
		got.ReadErr = f.unread
	}
	return got, f.err
}

func (f *fakeLine) Read(context.Context, modbus.Query) ([]uint16, error) { return f.held, f.unread }

func setpoint(t *testing.T, f *fakeLine, r modbus.Register) *ModbusPoint {
	t.Helper()
	r.Name = "r"
	l, err := scalar.NewLimits("40", "75", "0.5")
	if err != nil {
		t.Fatal(err)
	}
	codec, err := modbus.NewCodec(r, l)
	if err != nil {
		t.Fatal(err)
	}
	p, err := permit.ForRegister(codec.Scope("line1", 1))
	if err != nil {
		t.Fatal(err)
	}
	return &ModbusPoint{Line: f, Codec: codec, Permit: p, ReadBack: true}
}

func TestModbusPoint(t *testing.T) {
	uncertain := &modbus.UncertainError{Err: &rtu.TimeoutError{Timeout: time.Second}}
	for name, c := range map[string]struct {
		line   fakeLine
		change func(*ModbusPoint)
		want   string // sent read verified code exception
	}{
		"done":                     {fakeLine{}, nil, "true 62.5 true  0"},
		"not read back":            {fakeLine{}, func(m *ModbusPoint) { m.ReadBack = false }, "true  false  0"},
		"keeps what it had":        {fakeLine{keeps: []uint16{100}}, nil, "true 50 false  0"},
		"near":                     {fakeLine{keeps: []uint16{126}}, func(m *ModbusPoint) { m.Tolerance = big.NewRat(1, 2) }, "true 63 true  0"},
		"not near":                 {fakeLine{keeps: []uint16{127}}, func(m *ModbusPoint) { m.Tolerance = big.NewRat(1, 2) }, "true 63.5 false  0"},
		"no reply, and it is done": {fakeLine{err: uncertain, sent: true}, nil, "true 62.5 true no_reply 0"},
		"no reply, and it is not":  {fakeLine{err: uncertain, sent: true, keeps: []uint16{100}}, nil, "true 50 false no_reply 0"},
		"no reply, not read back":  {fakeLine{err: uncertain, sent: true, unread: rtu.ErrRequest}, nil, "true  false no_reply 0"},
		"confirmed, not read back": {fakeLine{unread: &rtu.TimeoutError{}}, nil, "true  false no_reply 0"},
		"refused":                  {fakeLine{err: &rtu.ExceptionError{Code: 3}, sent: true, unread: rtu.ErrRequest}, nil, "true  false exception 3"},
		"offline":                  {fakeLine{err: modbus.ErrOffline}, nil, "false  false offline 0"},
		"not open":                 {fakeLine{err: modbus.ErrNotOpen}, nil, "false  false offline 0"},
		"full":                     {fakeLine{err: modbus.ErrQueueFull}, nil, "false  false busy 0"},
		"noise":                    {fakeLine{err: &rtu.BusyError{}}, nil, "false  false busy 0"},
		"too late":                 {fakeLine{err: fmt.Errorf("not written: %w", context.DeadlineExceeded)}, nil, "false  false busy 0"},
		"not permitted":            {fakeLine{err: permit.ErrNotPermitted}, nil, "false  false not_allowed 0"},
	} {
		m := setpoint(t, &c.line, modbus.Register{Type: modbus.Int16, Scale: 0.5})
		if c.change != nil {
			c.change(m)
		}
		out := m.Write(t.Context(), "62.5", time.Time{})
		no := &Refusal{}
		if out.Err != nil && !errors.As(out.Err, &no) {
			t.Errorf("%s: %v has no code", name, out.Err)
		}
		if got := fmt.Sprintf("%v %s %v %s %d", out.Sent, out.Read, out.Verified, no.Code, no.Exception); got != c.want {
			t.Errorf("%s: got %q, want %q: %v", name, got, c.want, out.Err)
		}
		if len(c.line.wrote) > 1 {
			t.Errorf("%s: written %v", name, c.line.wrote)
		}
	}
}

func TestModbusPointChecks(t *testing.T) {
	m := setpoint(t, &fakeLine{}, modbus.Register{Type: modbus.Int16, Scale: 0.5})
	for value, want := range map[string]Code{"62.5": "", "76": Range, "62.3": Step, `"62.5"`: Type, "null": Type, "NaN": Type, "1e400": Type, "true": Type} {
		err := m.Check(value)
		no := &Refusal{}
		if errors.As(err, &no) != (want != "") || no.Code != want {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// A part of a register is written with what the register holds around it.
func TestModbusPointOfAPart(t *testing.T) {
	f := &fakeLine{held: []uint16{0xA500}}
	m := setpoint(t, f, modbus.Register{Type: modbus.Uint8, Scale: 0.5})
	if out := m.Write(urgent(t.Context()), "62.5", time.Time{}); out.Err != nil || !out.Verified || !slices.Equal(f.held, []uint16{0xA57D}) {
		t.Errorf("%+v: %x", out, f.held)
	}
	if !f.order.Before || !f.order.Urgent {
		t.Errorf("%+v", f.order)
	}
	if value, err := m.Read(t.Context()); err != nil || value != "62.5" {
		t.Errorf("%s, %v", value, err)
	}
}

// scaling is a line whose scale factor changes after some reads.
type scaling struct {
	fakeLine
	reads, changes int
}

func (s *scaling) Read(_ context.Context, q modbus.Query) ([]uint16, error) {
	s.reads++
	power := uint16(0xFFFF) // -1
	if s.reads <= s.changes {
		power = uint16(s.reads)
	}
	if q.Address == 9 {
		return []uint16{power}, nil
	}
	return []uint16{2301}, nil
}

func TestModbusRegisterWithScale(t *testing.T) {
	codec := modbus.NewDecoder(modbus.Register{Table: modbus.Input, ScaleRegister: 9, HasScaleRegister: true})
	for changes, want := range map[int]string{0: "230.1", 2: "230.1", 99: ""} {
		r := &ModbusRegister{Line: &scaling{changes: changes}, Unit: 1, Codec: codec}
		if value, err := r.Read(t.Context()); value != want || (err == nil) != (want != "") {
			t.Errorf("%d changes: %s, %v", changes, value, err)
		}
	}
}

// What is really written is what the answer says, what max_change is of, and
// what expect finds; a value that was not rounded is not told twice.
func TestRoundedValueIsTold(t *testing.T) {
	bubble(t, func(t *testing.T, s *site) {
		l, err := scalar.NewLimits("20", "90", "")
		if err != nil {
			t.Fatal(err)
		}
		l.Round = true
		codec, err := modbus.NewCodec(modbus.Register{Name: "r", Type: modbus.Int16, Scale: 0.006103515625}, l)
		if err != nil {
			t.Fatal(err)
		}
		allowed, err := permit.ForRegister(codec.Scope("line1", 1))
		if err != nil {
			t.Fatal(err)
		}
		line := &fakeLine{held: []uint16{8192}} // 50
		p := &s.cfg.Points[0]
		p.Target, p.MaxChange = &ModbusPoint{Line: line, Codec: codec, Permit: allowed, ReadBack: true}, "4.999"
		defer s.start().stop()
		say := func(id, value, expect string, state State, code Code) string {
			s.send(alice, `{"id":%q,"point":"setpoint","value":%s%s,"epoch":%q}`, id, value, expect, s.engine.Epoch())
			synctest.Wait()
			r := s.want(id, state, code)
			return fmt.Sprintf("%s %s %s %s", r.Value, r.Written, r.Read, r.Old)
		}
		for n, c := range []struct {
			value, expect string
			state         State
			code          Code
			want          string
		}{
			{"55", "", Done, OK, "55 54.998779296875 54.998779296875 50"},
			{"60.002", `,"expect":55`, Rejected, Range, "60.002   54.998779296875"},
			{"50", `,"expect":55`, Done, OK, "50  50 54.998779296875"},
			{"50", `,"expect":50.001`, Done, OK, "50  50 50"},
			{"50", `,"expect":50.01`, Rejected, Conflict, "50   50"},
			{"19.999", "", Rejected, Range, "19.999   "},
		} {
			if got := say(fmt.Sprint("r", n), c.value, c.expect, c.state, c.code); got != c.want {
				t.Errorf("%s%s: %s, want %s", c.value, c.expect, got, c.want)
			}
		}
		if len(line.wrote) != 3 {
			t.Errorf("written %v", line.wrote)
		}
	})
}

// A point whose condition does not hold is not written, and the answer says what
// is, with the code of what somebody else has decided.
func TestOnlyIf(t *testing.T) {
	for guard, want := range map[uint16]string{1 << 9: "", 0: "remote is false, and only_if wants true", 1 << 8: "remote is false, and only_if wants true"} {
		line := &fakeLine{guard: guard}
		m := setpoint(t, line, modbus.Register{Type: modbus.Int16, Scale: 0.5})
		m.OnlyIf = &Condition{Name: "remote", Codec: modbus.NewDecoder(modbus.Register{Table: modbus.Input, Address: 7, Type: modbus.Bit, BitLow: 9}), Value: "true"}
		out := m.Write(t.Context(), "62.5", time.Time{})
		if q := line.order.Guard.Query; q != (modbus.Query{Unit: 1, Table: modbus.Input, Address: 7, Count: 1}) {
			t.Errorf("asked %+v", q)
		}
		no := &Refusal{}
		errors.As(out.Err, &no)
		if want == "" && (out.Err != nil || len(line.wrote) != 1) || want != "" && (out.Sent || len(line.wrote) != 0 || no.Code != Conflict || !strings.Contains(no.Error(), want)) {
			t.Errorf("%x: %+v, written %v", guard, out, line.wrote)
		}
	}
	if m := setpoint(t, &fakeLine{}, modbus.Register{Type: modbus.Int16, Scale: 0.5}); m.Write(t.Context(), "62.5", time.Time{}).Err != nil || m.Line.(*fakeLine).order.Guard != nil {
		t.Error("without a condition there is a guard")
	}
}
