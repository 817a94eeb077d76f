package modbus

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"fieldferry/bus/modbus/modbustest"
)

// What has to hold is read before the write, and the write goes out only if that
// said so: not if it does not hold, not if it cannot be read.
func TestGuard(t *testing.T) {
	errNot := errors.New("not 1")
	for name, c := range map[string]struct {
		change func(u *modbustest.Unit)
		held   uint16
		asked  []string // requests that the device saw, in their order
		wrote  bool
		err    error
	}{
		"holds":         {nil, 1, []string{"4 9", "3 5", "6 5", "3 5"}, true, nil},
		"does not hold": {nil, 0, []string{"4 9"}, false, errNot},
		"cannot be read": {func(u *modbustest.Unit) {
			u.Input = nil
		}, 1, []string{"4 9"}, false, errors.ErrUnsupported},
		"silent":        {func(u *modbustest.Unit) { u.Silent = true }, 1, []string{"4 9", "4 9"}, false, errors.ErrUnsupported},
		"changes later": {func(u *modbustest.Unit) { u.WriteDelay = 100 * time.Millisecond }, 1, []string{"4 9", "3 5", "6 5", "3 5"}, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				unit := &modbustest.Unit{Holding: words(0, 20), Input: map[uint16]uint16{9: c.held}}
				if c.change != nil {
					c.change(unit)
				}
				b := newBench(t, LineConfig{Retries: 1}, map[byte]*modbustest.Unit{1: unit})
				b.live()
				got, err := b.line.Write(t.Context(), Order{
					Permit: permitted(t, 1, false, 5, 1), Words: give(7), Before: true, After: true,
					Guard: &Guard{Query: Query{Unit: 1, Table: Input, Address: 9, Count: 1}, Holds: func(words []uint16) error {
						if words[0] != 1 {
							return errNot
						}
						return nil
					}},
				})
				switch {
				case c.err == nil && err != nil, c.err != nil && err == nil, c.err == errNot && !errors.Is(err, errNot), got.Sent != c.wrote:
					t.Errorf("%+v, %v", got, err)
				}
				if wrote := logged(b); (len(wrote) == 1) != c.wrote || len(wrote) > 1 {
					t.Errorf("written %q", wrote)
				}
				var asked []string
				for _, r := range b.requests() {
					asked = append(asked, fmt.Sprintf("%d %d", r.function, r.address))
				}
				if !slices.Equal(asked, c.asked) {
					t.Errorf("asked %q, want %q", asked, c.asked)
				}
			})
		})
	}
}
