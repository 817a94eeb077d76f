package buffer

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
)

// put is one record of a test chunk.
type put struct {
	offset uint64
	row    row
	name   string
	data   []byte
}

func randomPuts(rng *rand.Rand, n int) []put {
	names := []string{"engine", "line1", "", "a long name of a source"}
	next := make([]uint64, len(names))
	for i := range next {
		next[i] = 1 + uint64(rng.IntN(1000))
	}
	offset := rng.Uint64N(1 << 40)
	t := rng.Int64() >> 1
	var ps []put
	for range n {
		src := rng.IntN(len(names))
		w := row{t: t, seq: next[src], src: uint32(src)}
		var data []byte
		if rng.IntN(10) == 0 {
			w.lost, w.reason = 1+rng.Uint64N(1000), Reason(rng.IntN(4))
		} else if rng.IntN(10) > 0 {
			data = make([]byte, rng.IntN(40))
			for i := range data {
				data[i] = byte(rng.IntN(4))
			}
		}
		w.size = uint32(len(data))
		ps = append(ps, put{offset, w, names[src], data})
		next[src] = w.next()
		if rng.IntN(20) == 0 {
			next[src] += rng.Uint64N(100)
		}
		offset++
		if rng.IntN(50) == 0 {
			offset += rng.Uint64N(100)
		}
		t += rng.Int64N(1e6) - 1e3
	}
	return ps
}

func encodePuts(tb testing.TB, session uint64, ps []put) []byte {
	tb.Helper()
	e, err := newEncoder(session)
	if err != nil {
		tb.Fatal(err)
	}
	for i := range ps {
		e.add(ps[i].offset, &ps[i].row, ps[i].name, ps[i].data)
	}
	var h head
	return e.finish(nil, &h)
}

func decodeChunk(b []byte) (*rows, error) {
	var h head
	if err := parseHead(b, nil, &h); err != nil {
		return nil, err
	}
	z, err := newDecoder()
	if err != nil {
		return nil, err
	}
	defer z.Close()
	raw, err := h.inflate(z, nil)
	if err != nil {
		return nil, err
	}
	d := new(rows)
	return d, d.decode(h, raw)
}

func TestChunkReturnsWhatWasPut(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 100 {
		ps := randomPuts(rng, 1+rng.IntN(300))
		d, err := decodeChunk(encodePuts(t, 7, ps))
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if len(d.row) != len(ps) || d.head.session != 7 {
			t.Fatalf("round %d: %d records of session %d, want %d of 7", round, len(d.row), d.head.session, len(ps))
		}
		for i, p := range ps {
			w := d.row[i]
			if d.off[i] != p.offset || w.t != p.row.t || w.seq != p.row.seq || w.lost != p.row.lost ||
				w.reason != p.row.reason || d.head.tables[w.src].name != p.name ||
				!bytes.Equal(d.data[w.pos:w.pos+w.size], p.data) {
				t.Fatalf("round %d, record %d: got %d %+v, want %+v", round, i, d.off[i], w, p)
			}
		}
	}
}

func TestChunkDetectsEveryFlippedBit(t *testing.T) {
	b := encodePuts(t, 1, randomPuts(rand.New(rand.NewPCG(5, 6)), 20))
	for i := range len(b) * 8 {
		if i/8 >= 5 && i/8 < 8 {
			continue // reserved, covered by the head's checksum as well
		}
		b[i/8] ^= 1 << (i % 8)
		if _, err := decodeChunk(b); !errors.Is(err, errChunk) {
			t.Fatalf("bit %d flipped: error is %v", i, err)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range b {
		if _, err := decodeChunk(b[:n]); !errors.Is(err, errChunk) {
			t.Fatalf("cut to %d bytes: error is %v", n, err)
		}
	}
}

// FuzzChunkBody feeds bodies that have a right checksum: the checksum does not
// stand between a hostile file and the decoder.
func FuzzChunkBody(f *testing.F) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 5 {
		b := encodePuts(f, 1, randomPuts(rng, 30))
		var h head
		if err := parseHead(b, nil, &h); err != nil {
			f.Fatal(err)
		}
		z, _ := newDecoder()
		raw, err := h.inflate(z, nil)
		if err != nil {
			f.Fatal(err)
		}
		z.Close()
		meta := b[chunkFixed : len(b)-len(h.body)]
		f.Add(meta, raw)
	}
	f.Fuzz(func(t *testing.T, meta, raw []byte) {
		var h head
		if parseMeta(meta, nil, nil, &h) != nil {
			return
		}
		d := new(rows)
		if d.decode(h, raw) != nil {
			return
		}
		for _, w := range d.row {
			_ = d.data[w.pos : w.pos+w.size]
		}
	})
}

// FuzzChunk feeds whole chunks.
func FuzzChunk(f *testing.F) {
	f.Add(encodePuts(f, 1, randomPuts(rand.New(rand.NewPCG(9, 9)), 30)))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = decodeChunk(b)
	})
}
