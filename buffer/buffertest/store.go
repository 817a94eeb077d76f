// Package buffertest has what tests of and around package buffer need: the
// suite that every store of records has to pass, a store in memory that does,
// and records that look like those of a CAN bus.
//
// # Nouns
//
// A [Store] is a [buffer.Buffer] or something that behaves like one. A [Disk]
// is what remains of stores in memory between closing one and opening the
// next.
//
// # Caveats
//
// A store in memory keeps everything until it is acknowledged: it knows no
// size limit and no disk that fails.
package buffertest

import (
	"context"

	"fieldferry/buffer"
)

// Source numbers and appends the records of one source; see [buffer.Source].
type Source interface {
	Append(t int64, data []byte) (seq uint64)
	Lose(t int64, n uint64, reason buffer.Reason)
}

// Store is what readers and writers of a buffer use of it; see
// [buffer.Buffer] for the contract of each method.
type Store interface {
	Source(name string) Source
	First() uint64
	Read(from uint64, batch *buffer.Batch, maxRecords, maxBytes int) (next uint64, err error)
	Wait(ctx context.Context, from uint64) error
	Ack(from, to uint64)
	Stats() buffer.Stats
	Close() error
}

// Of makes a Store of a buffer.
func Of(b *buffer.Buffer) Store { return real{b} }

type real struct{ *buffer.Buffer }

func (r real) Source(name string) Source { return r.Buffer.Source(name) }
