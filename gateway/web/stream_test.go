package web

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// got is one event of a stream.
type got struct{ id, name, data string }

// reader takes a stream apart as a browser does.
type reader struct {
	t    *testing.T
	body io.ReadCloser
	in   *bufio.Reader
}

func (b *bench) follow(base, topics, last string) *reader {
	b.t.Helper()
	r, _ := http.NewRequestWithContext(b.t.Context(), "GET", base+"/api/v1/events?topics="+topics, nil)
	r.Header.Set("Authorization", b.token(Read))
	if last != "" {
		r.Header.Set("Last-Event-ID", last)
	}
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	resp, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { resp.Body.Close() })
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		b.t.Fatalf("stream: %s", resp.Status)
	}
	return &reader{b.t, resp.Body, bufio.NewReader(resp.Body)}
}

// next waits for the next event.
func (r *reader) next() (e got) {
	r.t.Helper()
	for {
		line, err := r.in.ReadString('\n')
		if err != nil {
			r.t.Fatalf("the stream has ended: %v", err)
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			e.data = value
		case "":
			if e.name != "" {
				return e
			}
		}
	}
}

func TestStream(t *testing.T) {
	b := newBench(t, Config{})
	base := b.start()
	send(b.view, 0x123, 1, 2, 3)
	s := b.follow(base, "overview,can:engine", "")
	seen := map[string]bool{s.next().name: true, s.next().name: true}
	if !seen["overview/full"] || !seen["can:engine/full"] {
		t.Fatalf("first events %v", seen)
	}
	send(b.view, 0x123, 1, 9, 3)
	e := s.next()
	var change struct {
		Changed map[string]struct{ ID, Data string }
	}
	if err := json.Unmarshal([]byte(e.data), &change); err != nil || e.name != "can:engine" || change.Changed["0"].Data != "010903" {
		t.Errorf("a change: %v %v", e, err)
	}
	s.body.Close()

	back := b.follow(base, "overview,can:engine", e.id) // nothing was missed: no full state
	send(b.view, 0x124, 7)
	if e := back.next(); e.name != "can:engine" || !strings.Contains(e.data, `"124"`) {
		t.Errorf("after coming back: %v", e)
	}
	stale := b.follow(base, "can:engine", "1")
	if e := stale.next(); e.name != "can:engine/full" {
		t.Errorf("with an id nobody knows: %v", e)
	}
}

func TestStreamOverTLS(t *testing.T) {
	b := newBench(t, Config{TLS: true})
	base := strings.Replace(b.start(), "http:", "https:", 1)
	s := b.follow(base, "can:engine", "")
	if e := s.next(); e.name != "can:engine/full" {
		t.Errorf("first event %v", e)
	}
	send(b.view, 0x7FF, 5)
	if e := s.next(); e.name != "can:engine" {
		t.Errorf("second event %v", e)
	}
}

func TestStreamsAreLimited(t *testing.T) {
	b := newBench(t, Config{MaxClients: 3})
	base := b.start()
	var open []*reader
	for range 3 {
		r := b.follow(base, "overview", "")
		r.next()
		open = append(open, r)
	}
	r, _ := http.NewRequestWithContext(t.Context(), "GET", base+"/api/v1/events?topics=overview", nil)
	r.Header.Set("Authorization", b.token(Read))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %s", resp.Status)
	}
	for _, o := range open {
		o.body.Close()
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestStreamNeedsTopics(t *testing.T) {
	b := newBench(t, Config{})
	token := b.token(Read)
	for query, want := range map[string]int{"": 404, "topics=nothing": 404, "topics=can:unknown": 404, "topics=overview&every=1ms": 400,
		"topics=" + strings.Repeat("overview,", maxTopics) + "overview": 400} {
		if r := b.ask("GET", "/api/v1/events?"+query, "", "Authorization", token); r.StatusCode != want {
			t.Errorf("%q: %s, want %d", query, r.Status, want)
		}
	}
}

// script is an output that takes as many bytes as it is told to.
type script struct {
	takes  int
	got    strings.Builder
	closed bool
}

func (s *script) write(b []byte) (int, error) {
	n := min(s.takes, len(b))
	s.takes -= n
	s.got.Write(b[:n])
	return n, nil
}

func (s *script) close() { s.closed = true }

// counter is a feed whose every beat changes.
type counter struct{ n int }

func (c *counter) Full() []byte { return []byte(`"full ` + strconv.Itoa(c.n) + `"`) }
func (c *counter) Next() []byte {
	c.n++
	return []byte(`"` + strings.Repeat("x", 2000) + strconv.Itoa(c.n) + `"`)
}

// A client that does not read costs a bounded number of bytes, disturbs nobody,
// is told how much it missed once it reads again, and is closed if it never does.
func TestSlowClient(t *testing.T) {
	h := newHub(10, nil)
	h.open = func(string) Feed { return &counter{} }
	slow, fast := &script{}, &script{takes: 1 << 30}
	clients := []*client{}
	for _, o := range []*script{slow, fast} {
		h.reserve(false)
		c := &client{subs: []subscription{{name: "x"}}, every: 1, out: o, allowed: func() bool { return true }}
		h.add(c)
		clients = append(clients, c)
	}
	now := time.Now()
	for n := range 15 {
		h.beat(now.Add(time.Duration(n) * beat))
		if clients[0].bytes > maxPending+3000 {
			t.Fatalf("%d bytes wait", clients[0].bytes)
		}
	}
	slow.takes = 1 << 30
	for n := range 3 {
		h.beat(now.Add(time.Duration(15+n) * beat))
	}
	text := slow.got.String()
	if !strings.Contains(text, "event: skipped\ndata: {\"frames\":") || !strings.Contains(text, "event: x/full") {
		t.Errorf("after the pause it got %q...", text[:min(len(text), 200)])
	}
	if n := strings.Count(fast.got.String(), "event: x\n"); n != 17 {
		t.Errorf("the fast one got %d changes, want 17", n)
	}
	slow.takes = 0
	for n := range 30 {
		h.beat(now.Add(time.Minute + time.Duration(n)*beat))
	}
	if !slow.closed || fast.closed || len(h.clients) != 1 {
		t.Errorf("slow closed: %v, fast closed: %v, %d clients", slow.closed, fast.closed, len(h.clients))
	}
}

// Whoever comes back gets what it missed, no more and no less, or the whole
// state: checked against every id it might come back with.
func TestResume(t *testing.T) {
	h := newHub(1000, nil)
	h.open = func(string) Feed { return &counter{} }
	keep := &client{subs: []subscription{{name: "x"}}, every: 1, out: &script{takes: 1 << 30}, allowed: func() bool { return true }}
	h.reserve(false)
	h.add(keep)
	now := time.Now()
	first := h.id
	for range 100 { // more than the ring holds
		h.beat(now)
	}
	for n := range uint64(110) { // each adds an event of its own
		id := first - 2 + n
		out := &script{takes: 1 << 30}
		c := &client{subs: []subscription{{name: "x"}}, every: 1, seen: id, out: out, allowed: func() bool { return true }}
		h.reserve(false)
		h.add(c)
		before := h.id
		h.beat(now)
		full := strings.Contains(out.got.String(), "x/full")
		missed := strings.Count(out.got.String(), "event: x\n")
		if want := int(h.id - id); !full && missed != want {
			t.Fatalf("with id %d of %d: %d changes, want %d", id, before, missed, want)
		}
		if !full && (id < h.topics["x"].dropped || id > before) {
			t.Fatalf("with id %d of %d: no full state", id, before)
		}
		h.drop(c)
		h.clients = h.clients[:1]
	}
}

func TestHubEndsStreamsWithTheLogin(t *testing.T) {
	h := newHub(1, nil)
	h.open = func(string) Feed { return &counter{} }
	allowed := true
	out := &script{takes: 1 << 30}
	h.reserve(false)
	h.add(&client{subs: []subscription{{name: "x"}}, every: 1, out: out, allowed: func() bool { return allowed }})
	now := time.Now()
	h.beat(now)
	allowed = false
	h.beat(now.Add(checkTime))
	if !out.closed || !h.reserve(false) {
		t.Error("the stream goes on without a login")
	}
}

// BenchmarkStreams compares event streams that the hub writes with handlers of
// net/http: what 1,000 clients cost a beat.
func BenchmarkStreams(b *testing.B) {
	const clients = 1000
	h := newHub(clients, nil)
	h.open = func(string) Feed { return &counter{} }
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for range clients {
		peer, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, peer) }()
		conn, err := l.Accept()
		if err != nil {
			b.Fatal(err)
		}
		out, err := newOutput(conn)
		if err != nil {
			b.Fatal(err)
		}
		h.reserve(false)
		h.add(&client{subs: []subscription{{name: "x"}}, every: 1, out: out, allowed: func() bool { return true }})
	}
	b.ResetTimer()
	for b.Loop() {
		h.beat(time.Now())
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/clients, "ns/client")
	for _, c := range h.clients {
		h.drop(c)
	}
}
