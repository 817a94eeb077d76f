// Package permit says what may be written to a bus: one thing each, within
// limits. The zero value of a permit permits nothing.
//
// # Nouns
//
// A [Register] permits writing one value to the registers or coils of a Modbus
// unit. A [Frame] permits sending the frames of one id on a CAN interface.
//
// # Who does what
//
// Only the loader of the configuration makes permits, only gateway/command
// carries them, and the buses check them against the bytes that are about to
// go out, whatever made those. A test of the house keeps it so.
package permit

import (
	"errors"
	"fmt"
)

// ErrNotPermitted is wrapped when a permit is not for what is to be written.
var ErrNotPermitted = errors.New("not permitted")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrNotPermitted}, args...)...)
}

// RegisterScope is what a [Register] permits.
type RegisterScope struct {
	Line    string // name of the line
	Unit    uint8
	Coil    bool // coils in place of holding registers
	Address uint16
	Count   int // registers or coils, written together
	// Limits says why words are not within the limits; it is given what would
	// be written, in the order of the wire.
	Limits func(words []uint16) error
}

// Register permits what its scope says; the zero value permits nothing.
type Register struct{ scope RegisterScope }

// ForRegister makes a permit. Only the loader of the configuration calls it.
func ForRegister(s RegisterScope) (Register, error) {
	switch {
	case s.Line == "" || s.Limits == nil:
		return Register{}, errors.New("a permit names a line and limits")
	case s.Count < 1 || s.Count > 123 || int(s.Address)+s.Count > 1<<16:
		return Register{}, fmt.Errorf("%d values from address %d: one request writes 1 to 123, up to address 65535", s.Count, s.Address)
	}
	return Register{s}, nil
}

// Scope is what the permit is for. It permits nothing by itself.
func (p Register) Scope() RegisterScope { return p.scope }

// OnLine says why a line may not write by this permit.
func (p Register) OnLine(line string) error {
	if p.scope.Limits == nil || p.scope.Line != line {
		return refused("the permit is not for line %q", line)
	}
	return nil
}

// Check says why words may not be written to a unit.
func (p Register) Check(unit uint8, coil bool, address uint16, words []uint16) error {
	s := &p.scope
	if s.Limits == nil || unit != s.Unit || coil != s.Coil || address != s.Address || len(words) != s.Count {
		return refused("the permit is not for %d values from address %d of unit %d", len(words), address, unit)
	}
	if err := s.Limits(words); err != nil {
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	return nil
}

// FrameScope is what a [Frame] permits.
type FrameScope struct {
	Interface string
	ID        uint32
	Extended  bool
	FD        bool // with BitRateSwitch, a CAN FD frame
	BRS       bool
	Length    int // bytes of data
	// Limits says why data is not within the limits.
	Limits func(data []byte) error
}

// Frame permits what its scope says; the zero value permits nothing.
type Frame struct{ scope FrameScope }

// ForFrame makes a permit. Only the loader of the configuration calls it.
func ForFrame(s FrameScope) (Frame, error) {
	most, limit := 8, uint32(1<<11-1)
	if s.FD {
		most = 64
	}
	if s.Extended {
		limit = 1<<29 - 1
	}
	switch {
	case s.Interface == "" || s.Limits == nil:
		return Frame{}, errors.New("a permit names an interface and limits")
	case s.ID > limit:
		return Frame{}, fmt.Errorf("id %X: the largest is %X", s.ID, limit)
	case s.Length < 0 || s.Length > most:
		return Frame{}, fmt.Errorf("%d bytes: at most %d fit into a frame", s.Length, most)
	case s.BRS && !s.FD:
		return Frame{}, errors.New("the bit rate is switched in CAN FD frames only")
	}
	return Frame{s}, nil
}

// Scope is what the permit is for. It permits nothing by itself.
func (p Frame) Scope() FrameScope { return p.scope }

// Check says why a frame may not be sent on an interface. remote says that it
// asks for data instead of carrying any.
func (p Frame) Check(iface string, id uint32, extended, fd, brs, remote bool, data []byte) error {
	s := &p.scope
	if s.Limits == nil || iface != s.Interface || id != s.ID || extended != s.Extended || fd != s.FD || brs != s.BRS || remote || len(data) != s.Length {
		return refused("the permit is not for %d bytes with id %X on %s", len(data), id, iface)
	}
	if err := s.Limits(data); err != nil {
		return fmt.Errorf("%w: %w", ErrNotPermitted, err)
	}
	return nil
}
