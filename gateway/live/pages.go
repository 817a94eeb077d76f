package live

import (
	"bytes"
	"sort"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
)

const (
	// keptBytes is about what the pages of a bus may take, and maxPages how many a
	// message has: a bus that makes up values of a multiplexer costs no more. What
	// is beyond is not kept.
	keptBytes = 512 << 10
	pageBytes = 128 // of a page besides its data
	maxPages  = 256
)

// page is the last data of a message among those that carry the same signals. The
// last frame alone would not do where a message is multiplexed, or comes with
// different lengths.
type page struct {
	key   uint64 // see dbc.Message.Page
	n     uint64 // how many frames of the row had come with it
	time  int64
	every int64 // the longer of the two times between the last three; 0: not known
	delta int64 // between the last two
	data  []byte
	id    string
}

// keep notes data beside the data before them, last, that carry other signals. It
// is called before the row is noted.
func (f *Frames) keep(r *row, last []byte, now int64, data []byte) {
	if len(r.pages) == 0 {
		f.page(r, r.count, r.frame.Time, last)
	}
	f.page(r, r.count+1, now, data)
}

func (f *Frames) page(r *row, n uint64, now int64, data []byte) {
	if data == nil { // a frame that asks for data
		return
	}
	key := r.message.Page(data)
	i := len(r.pages)
	for range r.pages { // they come in turns
		if r.at++; r.at >= len(r.pages) {
			r.at = 0
		}
		if r.pages[r.at].key == key {
			i = r.at
			break
		}
	}
	if i == len(r.pages) {
		need := pageBytes + len(data)
		if i == maxPages || f.kept+need > keptBytes {
			return
		}
		f.kept += need
		r.pages = append(r.pages, page{key: key, time: now})
	}
	p := &r.pages[i]
	before := p.delta
	p.delta = max(now-p.time, 0)
	p.n, p.time, p.every, p.data = n, now, max(before, p.delta), append(p.data[:0], data...)
}

// whole is a copy with the pages.
func (r *row) whole(out *Row) {
	*out = r.copy()
	out.pages = append(out.pages, r.pages...)
	for i := range out.pages {
		out.pages[i].data = bytes.Clone(out.pages[i].data)
	}
}

// Rows returns a copy of every row in the order in which the ids were seen, with
// the long messages behind, and says how many frames belong to ids without a row.
func (f *Frames) Rows() (rows []Row, others uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rows = make([]Row, len(f.rows)+len(f.joined))
	for i := range f.rows {
		f.rows[i].whole(&rows[i])
	}
	for i := range f.joined {
		j, out := &f.joined[i], &rows[len(f.rows)+i]
		j.whole(out)
		out.Data = bytes.Clone(j.data)
	}
	return rows, f.others
}

// hear looks up what describes a row, and puts the newest of its data first.
func (b Bus) hear(r *Row) *heard {
	h := &heard{Row: r, Message: b.message(r)}
	asks := r.Frame.Flags&can.Remote != 0
	for i := range h.pages {
		asks = asks || h.pages[i].n == r.Count
	}
	if !asks {
		h.pages = append(h.pages, page{n: r.Count, time: r.Frame.Time, every: int64(r.Mean), data: h.payload()})
	}
	id := FormatID(&r.Frame)
	for i := range h.pages {
		h.pages[i].id = id
	}
	sort.SliceStable(h.pages, func(i, j int) bool { return h.pages[i].n > h.pages[j].n })
	return h
}

// signals lists the newest value of each signal, with the frame that carried it.
func (h *heard) signals() []Signal {
	if h.Message == nil || len(h.pages) == 0 {
		return []Signal{}
	}
	signals := make([]Signal, len(h.Signals))
	for i := range signals {
		s, of := &signals[i], &h.Signals[i]
		s.Name, s.Unit, s.Error, s.Value = of.Name, of.Unit, notCarried, null
	}
	carried := make([]int, len(signals))
	var values []dbc.Value
	for i := range h.pages {
		p := &h.pages[i]
		values = h.Decode(p.data, values[:0])
		n := 0 // in h.Signals, whose order the values have
		for j := range values {
			v := &values[j]
			for &h.Signals[n] != v.Signal {
				n++
			}
			s := &signals[n]
			if carried[n]++; carried[n] == 1 {
				s.At, s.Error, s.page, s.Every = time.Unix(0, p.time).UTC(), v.Missing(), i, time.Duration(p.every).Seconds()
				if s.Error == "" {
					s.Value, s.Out, s.number = v.AppendJSON(nil), v.OutOfRange(), v.Float()
					s.Text = string(s.Value)
					s.Label, _ = v.Label()
				}
			}
			if carried[n] == len(h.pages) { // every frame has it
				s.Every = h.Mean.Seconds()
			}
		}
	}
	return signals
}

const notCarried = "not received yet"
