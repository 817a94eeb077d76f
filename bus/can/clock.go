package can

import "time"

// hardwareClock brings times of a controller's clock onto the machine's. The
// controller's counts from its own beginning and drifts, but knows exactly how
// far apart two frames were; the machine's is right on the whole, but learns
// of a frame late. The frame that was told least late shows how the clocks
// stand to each other, so the smallest difference of a stretch of time counts.
type hardwareClock struct {
	offset int64 // machine less controller
	least  int64 // of the stretch that runs
	end    int64 // of that stretch, by the machine's clock
	known  bool
}

// clockStretch is long enough to see a frame that was told at once, and short
// enough that clocks do not drift apart by much: 50 ppm are half a millisecond.
const clockStretch = int64(10 * time.Second)

// clockStep is a difference that is no lateness: a clock was set.
const clockStep = int64(time.Second)

// toMachine returns a time of the controller's clock as one of the machine's.
// told is when the machine knew of the frame.
func (c *hardwareClock) toMachine(hardware, told int64) int64 {
	offset := told - hardware
	switch {
	case !c.known || offset > c.offset+clockStep || offset < c.offset-clockStep:
		*c = hardwareClock{offset: offset, least: offset, end: told + clockStretch, known: true}
	case told >= c.end:
		c.offset = min(c.least, offset)
		c.least, c.end = offset, told+clockStretch
	default:
		c.least = min(c.least, offset)
		c.offset = min(c.offset, offset)
	}
	return hardware + c.offset
}
