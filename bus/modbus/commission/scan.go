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
	Port        string
	Modes       []rtu.Mode // of a serial line, tried one after the other
	First, Last byte       // unit ids
	Probe       Item       // what each unit is asked for; its unit does not count
	Timeout     time.Duration
	Retries     int
	RS485       rtu.RS485
}

// Found is a unit that answered.
type Found struct {
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
	all := len(cfg.Modes) * (int(cfg.Last) - int(cfg.First) + 1)
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
	for unit := int(cfg.First); unit <= int(cfg.Last); unit++ {
		progress()
		item := cfg.Probe
		item.Unit = byte(unit)
		r := s.Read(ctx, item)
		var lost *rtu.PortLostError
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.As(r.Err, &lost):
			return r.Err
		}
		summary.Asked++
		if f, ok := answerOf(&r, mode); ok {
			answered[f.Unit] = true
			found(f)
		}
	}
	// Slow units answer while others are asked.
	if err := s.Pause(ctx, cfg.Timeout); err != nil {
		return nil
	}
	for unit := int(cfg.First); unit <= int(cfg.Last); unit++ {
		if took := s.master.Slowest(byte(unit)); took > 0 && !answered[byte(unit)] {
			found(Found{Unit: byte(unit), Mode: mode, Answer: fmt.Sprintf("late, after %v", took.Round(time.Millisecond)), Exception: -1, Took: took, Late: true})
		}
	}
	stats := s.Stats()
	if n := stats.CRCErrors + stats.Mismatches; n > 0 {
		summary.Damaged[mode] = n
	}
	return nil
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
