package can

import (
	"context"
	"encoding/binary"
	"time"
)

// RampID is the arbitration id of sim:ramp.
const RampID = 0x123

// runSim plays a simulation.
func (b *Bus) runSim(ctx context.Context, d *delivery) error {
	if b.src.Name == SimRamp {
		return b.play(ctx, &rampTrack{rate: int64(b.src.Rate)}, d)
	}
	return b.play(ctx, newEngineTrack(), d)
}

// rampTrack is sim:ramp: frame 123 with 8 bytes, a counter from 0 with the
// least significant byte first, at an even rate.
type rampTrack struct {
	rate, n int64
}

func (t *rampTrack) next(f *Frame) (time.Duration, error) {
	*f = Frame{ID: RampID, Len: 8}
	binary.LittleEndian.PutUint64(f.Data[:], uint64(t.n))
	// Reckoned from the count: a rounded period would drift.
	due := time.Duration(t.n/t.rate)*time.Second + time.Duration(t.n%t.rate*int64(time.Second)/t.rate)
	t.n++
	return due, nil
}
