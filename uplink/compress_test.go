package uplink

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestCompressedMessagesAreMarked(t *testing.T) {
	for _, c := range []Compression{CompressNone, CompressGzip, CompressZstd} {
		t.Run("compress "+c.String(), func(t *testing.T) {
			protocols(t, func(t *testing.T, p Protocol) {
				b := faultBroker(t)
				q := newTestQueue(t, 5)
				for i := range q.msgs {
					q.msgs[i].Payload = bytes.Repeat(q.msgs[i].Payload, 100)
				}
				var sizes []int // as the queue is told
				q.onAcked = func(m Message) { sizes = append(sizes, m.Size) }
				_, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, Compress: c, Birth: births}, q, nil, nil)
				q.wait(5)
				stop()
				topic, content := "test/topic", ""
				if p == Protocol5 {
					content = strings.TrimSuffix("application/json+"+c.String(), "+")
				} else if c != CompressNone {
					topic += "/" + c.String()
				}
				got := b.Received()
				if r := got[0]; r.Topic != "test/status" || r.Payload != "online" || r.ContentType != "" {
					t.Errorf("the birth came as %+v; it is never compressed", r)
				}
				for i, r := range got[1:] {
					if r.Topic != topic || r.ContentType != content {
						t.Errorf("topic %q, content type %q; want %q, %q", r.Topic, r.ContentType, topic, content)
					}
					if c != CompressNone && len(r.Payload) > 200 {
						t.Errorf("%d bytes after compression", len(r.Payload))
					}
					if want := len(r.Topic) + len(r.Payload) + perMessage; i >= len(sizes) || sizes[i] != want {
						t.Errorf("the sizes on the line are told as %v, number %d has %d", sizes, i, want)
					}
					if back, err := Expand([]byte(r.Payload)); err != nil || !bytes.Equal(back, q.msgs[i].Payload) {
						t.Errorf("expands to %.40q, %v", back, err)
					}
				}
			})
		})
	}
}

func TestExpandIsBounded(t *testing.T) {
	var e encoder
	for _, c := range []Compression{CompressGzip, CompressZstd} {
		bomb, err := e.pack(c, make([]byte, maxExpanded+1))
		if err != nil {
			t.Fatal(err)
		}
		if out, err := Expand(bomb); err == nil || len(out) > maxExpanded+1 {
			t.Errorf("%v: %d bytes, %v", c, len(out), err)
		}
		if _, err := Expand(bomb[:len(bomb)/2]); err == nil || errors.Is(err, ErrExpanded) {
			t.Errorf("%v: half a payload: %v", c, err)
		}
	}
}

func FuzzExpand(f *testing.F) {
	var e encoder
	for _, c := range []Compression{CompressGzip, CompressZstd} {
		p, err := e.pack(c, []byte(`{"v":1}`))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	f.Add([]byte(`{"v":1}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		if out, err := Expand(in); err == nil && len(out) > maxExpanded {
			t.Errorf("%d bytes", len(out))
		}
	})
}

func TestPayloadOfMarkedSizesNeverPassesTheLimit(t *testing.T) {
	// What does not compress grows by the headers: within slack.
	var e encoder
	noise := make([]byte, 4096)
	for i := range noise {
		noise[i] = byte(i*i*31 + i>>3*17)
	}
	for _, c := range []Compression{CompressGzip, CompressZstd} {
		out, err := e.pack(c, noise)
		if err != nil {
			t.Fatal(err)
		}
		if grown := len(out) - len(noise) + 1 + len(c.String()); grown > slack {
			t.Errorf("%v: a message grows by %d bytes, more than %d", c, grown, slack)
		}
	}
}
