package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"fieldferry/uplink"
)

// publisher is a broker with one subscriber, to which it sends what it likes.
type publisher struct{ w *bufio.Writer }

func (p *publisher) send(payload []byte) {
	const topic = "\x00\x0cfieldferry/t"
	head := binary.AppendUvarint([]byte{0x30}, uint64(len(topic)+len(payload))) // PUBLISH, QoS 0
	for _, part := range [][]byte{head, []byte(topic), payload} {
		_, _ = p.w.Write(part) // the subscriber may have had enough
	}
}

// publishTo has a broker send to the first client that subscribes.
func publishTo(t *testing.T, send func(*publisher)) (server string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-done })
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for r := bufio.NewReader(conn); ; {
			kind, err := r.ReadByte()
			if err != nil {
				return
			}
			length, err := binary.ReadUvarint(r)
			if err != nil {
				return
			}
			body := make([]byte, length)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			switch kind >> 4 {
			case 1: // CONNECT
				_, _ = conn.Write([]byte{0x20, 2, 0, 0})
			case 8: // SUBSCRIBE
				_, _ = conn.Write([]byte{0x90, 3, body[0], body[1], 1})
				w := &publisher{bufio.NewWriterSize(conn, 1<<20)}
				send(w)
				_ = w.w.Flush()
			}
		}
	}()
	return "mqtt://" + l.Addr().String()
}

// watched is what a process of watch says, and its high-water mark.
func watched(t *testing.T, server string, args ...string) (said string, peak int) {
	t.Helper()
	c := child(t, append([]string{"watch", "--server", server}, args...)...)
	var errs bytes.Buffer
	c.Stderr = &errs
	if err := c.Run(); err != nil {
		t.Fatal(err, errs.String())
	}
	said, end, _ := strings.Cut(errs.String(), "peak ")
	peak, err := strconv.Atoi(strings.TrimSpace(end))
	if err != nil {
		t.Fatal(errs.String())
	}
	return said, peak
}

func recordText(seq int, more string) string {
	return fmt.Sprintf(`{"seq":%d,"ts":"2026-11-20T14:00:00Z","type":"can"%s}`, seq, more)
}

func envelope(session int, source, records string) []byte {
	return fmt.Appendf(nil, `{"v":1,"gateway":%q,"session":%d,"source":%q,"seq":1,"count":1,"records":[%s]}`, strings.Repeat("g", 250), session, source, records)
}

// watchInLittleMemory sends watch the worst that it keeps an account of, and
// the worst that it refuses. Neither ends it.
func watchInLittleMemory(t *testing.T) {
	long := strings.Repeat("s", 250)
	holes := func(n, from int) string {
		var b strings.Builder
		for i := range n {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(recordText(from+2*i, ""))
		}
		return b.String()
	}
	for name, c := range map[string]struct {
		send    func(*publisher)
		records int
		want    string
	}{
		"largest messages": {func(p *publisher) {
			value := strings.Repeat("\u200f", uplink.DefaultMaxMessage/6)
			for i := range 20 {
				p.send(envelope(1, "s", recordText(i+1, `,"name":"x","signals":"`+strings.Repeat("x", uplink.DefaultMaxMessage-1000)+`"`)))
				p.send(envelope(2, "s", recordText(i+1, `,"name":"`+value+`"`)))
				p.send(envelope(3, "s", strings.Replace(recordText(i+1, `,"errors":{"":""`+strings.Repeat(`,"":""`, uplink.DefaultMaxMessage/8)+`}`), "can", "modbus", 1)))
			}
		}, 60, ""},
		"most gaps": {func(p *publisher) {
			full := holes(5000, 1)
			for i := range 200 {
				p.send(envelope(i, long, full))
			}
		}, 200 * 5000, "the account is no longer exact"},
		"most streams": {func(p *publisher) {
			for i := range 10_000 {
				start := fmt.Sprintf(`{"seq":9,"ts":"2026-11-20T14:00:00Z","type":"event","event":"started","detail":{"life":"%s","previous":"unclean","previous_session":%d,"stored":{"%d%s":1,"b%d":2,"c":3,"d":4,"e":5}}}`, long, i+1, i, long, i)
				p.send(envelope(i, long, recordText(1, "")+","+start))
			}
		}, 2 * 4096, "the account is no longer exact"},
		"refused": {func(p *publisher) {
			var bomb bytes.Buffer
			z := gzip.NewWriter(&bomb)
			_, _ = io.Copy(z, io.LimitReader(endless{}, 100<<20))
			_ = z.Close()
			filled := func(head, part, end string) []byte {
				return []byte(head + strings.Repeat(part, (uplink.DefaultMaxMessage-100-len(head)-len(end))/len(part)) + end)
			}
			for range 10 {
				p.send(make([]byte, 30<<20))
				p.send(bomb.Bytes())
				p.send(filled(`{"v":1,"source":"s","records":[1`, ",1", "]}"))
				p.send(filled(`{"v":1,"source":"s","records":[{"seq":`, "1", "}]}"))
				p.send(filled(`{"v":1,"source":"`, "x", `"}`))
				p.send(filled(`{"v":1,"records":`, "[", ""))
				p.send(filled(`{"v":`, "1", `}`))
				p.send(filled(`{"v":1,"source":"s","records":[{"seq":1,"ts":"`, "1", `"}]}`))
			}
			p.send(envelope(1, "s", recordText(1, "")))
		}, 1, "skipped a message of 314572"},
	} {
		t.Run(name, func(t *testing.T) {
			forms := []string{"--json=false"}
			if *wholeMemory {
				forms = append(forms, "--json")
			}
			for _, form := range forms {
				said, peak := watched(t, publishTo(t, c.send), form, "--records", fmt.Sprint(c.records))
				if !strings.Contains(said, c.want) {
					t.Errorf("%s: it said %.2000q", form, said)
				}
				if n := strings.Count(said, "\n"); n > 60 || strings.Contains(said, "no connection") {
					t.Errorf("%s: %d lines: %.2000s", form, n, said)
				}
				if peak > memoryLimit {
					t.Errorf("%s: %d KiB", form, peak)
				}
				t.Logf("%s: %d KiB", form, peak)
			}
		})
	}
}
