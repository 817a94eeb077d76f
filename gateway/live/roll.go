package live

import (
	"encoding/binary"

	"fieldferry/bus/can"
)

// rollBytes is about half of what the newest frames of a bus may take.
const rollBytes = 512 << 10

// roll holds the newest frames in two buffers: the young one is written, and
// when it is full the old one is forgotten. A frame ends with its length, so
// that the last few are found from behind.
type roll struct{ old, young []byte }

const (
	rollHead = 8 + 4 + 1 + 1 // time, id, flags, length
	rollTail = 1             // bytes of the frame in here
)

func (r *roll) add(f *can.Frame) {
	data := f.Payload()
	if len(r.young)+rollHead+len(data)+rollTail > rollBytes {
		r.old, r.young = r.young, r.old[:0]
	}
	b := binary.LittleEndian.AppendUint64(r.young, uint64(f.Time))
	b = binary.LittleEndian.AppendUint32(b, f.ID)
	b = append(b, byte(f.Flags), f.Len)
	b = append(b, data...)
	r.young = append(b, byte(rollHead+len(data)+rollTail))
}

// tail is the end of b with at most n frames, and how many there are.
func tail(b []byte, n int) (end []byte, count int) {
	at := len(b)
	for ; count < n && at > 0; count++ {
		at -= int(b[at-1])
	}
	return b[at:], count
}

func unroll(b []byte, yield func(*can.Frame) bool) bool {
	for len(b) >= rollHead+rollTail {
		f := can.Frame{Time: int64(binary.LittleEndian.Uint64(b)), ID: binary.LittleEndian.Uint32(b[8:]), Flags: can.Flags(b[12]), Len: b[13]}
		n := 0
		if f.Flags&can.Remote == 0 {
			n = copy(f.Data[:min(int(f.Len), can.MaxDataLen)], b[rollHead:])
		}
		if !yield(&f) {
			return false
		}
		b = b[rollHead+n+rollTail:]
	}
	return true
}

// Newest calls yield with the newest frames, oldest first, until it returns
// false. How far back they reach depends on the load of the bus. The frame is
// valid only during the call.
func (f *Frames) Newest(yield func(*can.Frame) bool) {
	f.mu.Lock()
	old, young := append([]byte(nil), f.roll.old...), append([]byte(nil), f.roll.young...)
	f.mu.Unlock()
	if unroll(old, yield) {
		unroll(young, yield)
	}
}

// Since calls yield with the frames from the number from on, oldest first, but
// with no more than the newest most of them, and returns the number that the next
// frame will have. Frames are numbered from 1 in the order in which they came.
func (f *Frames) Since(from uint64, most int, yield func(*can.Frame)) (next uint64) {
	f.mu.Lock()
	next = f.noted + 1
	if from <= next {
		most = int(min(uint64(most), next-from))
	}
	young, n := tail(f.roll.young, most)
	old, _ := tail(f.roll.old, most-n)
	young, old = append([]byte(nil), young...), append([]byte(nil), old...)
	f.mu.Unlock()
	each := func(fr *can.Frame) bool { yield(fr); return true }
	unroll(old, each)
	unroll(young, each)
	return next
}
