package send

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/logfile"
)

// maxGap is the longest silence of a log that is kept. More than that is the
// clock of the recording machine that was set.
const maxGap = 24 * time.Hour

// Writer is where frames go: a [Sender].
type Writer interface {
	Send(ctx context.Context, f *can.Frame) error
}

// Log is what to play.
type Log struct {
	// Open returns the log from its beginning; it is called for every round.
	Open func() (io.ReadCloser, error)
	// Speed is 1 for the log's own timing, 2 for twice as fast, +Inf for as
	// fast as the interface takes it. 0 means 1.
	Speed float64
	// Rounds is how often the log is played; 0 means until the context ends.
	Rounds int
	// To returns where frames of an interface of the log go; nil: nowhere.
	To func(iface []byte) Writer
	// Bad, if set, is told of lines that are no frames. They are passed over.
	Bad func(error)
}

// Played is what has been played.
type Played struct {
	Sent    uint64 // frames
	Skipped uint64 // error frames, and frames of interfaces that go nowhere
	Bad     uint64 // lines that are no frames
}

// Play sends the frames of a log when they are due, until the log or ctx ends;
// the end of ctx is no error.
func Play(ctx context.Context, l Log) (Played, error) {
	if l.Speed == 0 {
		l.Speed = 1
	}
	p := player{Log: l, start: time.Now()}
	for round := 0; (l.Rounds == 0 || round < l.Rounds) && ctx.Err() == nil; round++ {
		before := p.done.Sent
		if err := p.round(ctx); err != nil {
			if ctx.Err() != nil {
				break
			}
			return p.done, err
		}
		if p.done.Sent == before && ctx.Err() == nil {
			return p.done, errors.New("can: replay: no frame in the log goes to an interface here")
		}
	}
	return p.done, nil
}

type player struct {
	Log
	done  Played
	start time.Time

	// base is the due time of the frame whose log time is baseTime.
	base, last         time.Duration
	baseTime, lastTime int64
	fresh              bool
}

func (p *player) round(ctx context.Context) error {
	file, err := p.Open()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	lines, _, err := logfile.NewReader(file)
	if err != nil {
		return fmt.Errorf("can: replay: %w", err)
	}
	log := can.NewLogReader(lines)
	// A round follows the one before without a pause, but not at once: a log
	// of one frame does not flood the bus.
	if p.base = p.last; p.done.Sent > 0 {
		p.base += time.Millisecond
	}
	p.fresh = true
	var f can.Frame
	for ctx.Err() == nil {
		iface, err := log.Next(&f)
		var bad *can.LineError
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.As(err, &bad):
			p.done.Bad++
			if p.Bad != nil {
				p.Bad(bad)
			}
			continue
		case err != nil:
			return fmt.Errorf("can: replay: %w", err)
		}
		to := p.To(iface)
		if to == nil || f.Flags&can.ErrorFrame != 0 {
			p.done.Skipped++
			continue
		}
		if !p.wait(ctx, f.Time) {
			return nil
		}
		if err := to.Send(ctx, &f); err != nil {
			return err
		}
		p.done.Sent++
	}
	return nil
}

// wait waits until a frame of that time is due.
func (p *player) wait(ctx context.Context, at int64) bool {
	if math.IsInf(p.Speed, 1) {
		return ctx.Err() == nil
	}
	if gap := at - p.lastTime; p.fresh || gap < 0 || gap > int64(maxGap) {
		if !p.fresh {
			p.base = p.last
		}
		p.baseTime, p.fresh = at, false
	}
	p.lastTime = at
	p.last = p.base + time.Duration(min(float64(at-p.baseTime)/p.Speed, 1<<62))
	rest := p.last - time.Since(p.start)
	if rest <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(rest)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
