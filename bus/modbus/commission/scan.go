package commission

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fieldferry/bus/modbus/rtu"
)

// ScanConfig says where to look for units.
type ScanConfig struct {
	Port    string
	Modes   []rtu.Mode // of a serial line, tried one after the other
	Units   []byte     // unit ids, in the order in which they are asked
	Probes  []Item     // what each unit is asked for until it answers; their units do not count
	Timeout time.Duration
	Retries int
	RS485   rtu.RS485
}

// Found is a unit that answered.
type Found struct {
	_ [0]func() // nobody compares them: saves the code for it

	Unit   byte
	Mode   rtu.Mode
	Answer string // what it said, for people
	// Exception is the code of a refusal; it is an answer too. -1 means none.
	Exception int
	Took      time.Duration
	Late      bool // it answered after the timeout
}

// ScanSummary is what a scan has seen besides the units it found.
type ScanSummary struct {
	Asked   int
	Damaged map[rtu.Mode]uint64 // damaged or wrong replies: somebody may be there, set differently
}

// Scan asks each unit id in each mode, and calls found for every one that
// answers and progress before each question. When ctx ends it returns nil with
// what it has: what was found stays found. An error means that the port could
// not be used.
func Scan(ctx context.Context, cfg ScanConfig, found func(Found), progress func(done, all int)) (ScanSummary, error) {
	summary := ScanSummary{Damaged: map[rtu.Mode]uint64{}}
	all := len(cfg.Modes) * len(cfg.Units)
	for _, mode := range cfg.Modes {
		if err := scanMode(ctx, cfg, mode, &summary, found, func() { progress(summary.Asked, all) }); err != nil {
			return summary, err
		}
		if ctx.Err() != nil {
			return summary, nil
		}
	}
	return summary, nil
}

func scanMode(ctx context.Context, cfg ScanConfig, mode rtu.Mode, summary *ScanSummary, found func(Found), progress func()) error {
	s, err := Open(ctx, Config{Port: cfg.Port, Mode: mode, Timeout: cfg.Timeout, Retries: cfg.Retries, RS485: cfg.RS485})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	defer s.Close()
	answered := map[byte]bool{}
	for _, unit := range cfg.Units {
		progress()
		f, ok, err := s.probe(ctx, unit, cfg.Probes, mode)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		summary.Asked++
		if ok {
			answered[f.Unit] = true
			found(f)
		}
	}
	// Slow units answer while others are asked.
	if err := s.Pause(ctx, cfg.Timeout); err != nil {
		return nil
	}
	for _, unit := range cfg.Units {
		if took := s.master.Slowest(unit); took > 0 && !answered[unit] {
			found(Found{Unit: unit, Mode: mode, Answer: fmt.Sprintf("late, after %v", took.Round(time.Millisecond)), Exception: -1, Took: took, Late: true})
		}
	}
	stats := s.Stats()
	if n := stats.CRCErrors + stats.Mismatches; n > 0 {
		summary.Damaged[mode] = n
	}
	return nil
}

// probe asks a unit for one thing after the other, until it gives a value. A
// refusal is an answer too, but a later value says more.
func (s *Session) probe(ctx context.Context, unit byte, probes []Item, mode rtu.Mode) (best Found, ok bool, err error) {
	for _, item := range probes {
		item.Unit = unit
		r := s.Read(ctx, item)
		if ctx.Err() != nil {
			return best, ok, ctx.Err()
		}
		if lost := (*rtu.PortLostError)(nil); errors.As(r.Err, &lost) {
			return best, ok, r.Err
		}
		f, answers := answerOf(&r, mode)
		if answers && (!ok || f.Exception < 0) {
			best, ok = f, true
		}
		if answers && f.Exception < 0 {
			break
		}
	}
	return best, ok, nil
}

func answerOf(r *Result, mode rtu.Mode) (Found, bool) {
	f := Found{Unit: r.Unit, Mode: mode, Exception: -1, Took: r.Took}
	if code, ok := r.Exception(); ok {
		// A gateway answers so for a unit that is not there.
		if code == 10 || code == 11 {
			return f, false
		}
		f.Exception, f.Answer = int(code), r.Err.Error()
		return f, true
	}
	if r.Err != nil {
		return f, false
	}
	if len(r.Bits) > 0 {
		f.Answer = fmt.Sprintf("%v %d = %v", r.Table, r.Address, r.Bits[0])
	} else {
		f.Answer = fmt.Sprintf("%v %d = %d", r.Table, r.Address, r.Words[0])
	}
	return f, true
}

// Modes makes every combination of the given rates and settings.
func Modes(rates []int, parities []byte, stopBits []int) (modes []rtu.Mode) {
	for _, rate := range rates {
		for _, parity := range parities {
			for _, stop := range stopBits {
				modes = append(modes, rtu.Mode{BaudRate: rate, DataBits: 8, Parity: parity, StopBits: stop})
			}
		}
	}
	return modes
}
