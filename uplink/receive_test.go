package uplink

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"fieldferry/uplink/mqtt"
	"fieldferry/uplink/uplinktest"
)

// handler is what a test subscribes with: it keeps what it gets, and returns
// when it may.
type handler struct {
	mu      sync.Mutex
	got     []Received
	granted []string
	busy    bool
	beside  bool // two calls at a time
	changed chan struct{}
	gate    chan struct{} // nil: it never waits
}

func newHandler(gate chan struct{}) *handler {
	return &handler{changed: make(chan struct{}, 1), gate: gate}
}

func (h *handler) handle(ctx context.Context, m Received) {
	h.mu.Lock()
	h.beside = h.beside || h.busy
	h.busy = true
	h.got = append(h.got, m)
	h.mu.Unlock()
	signal(h.changed)
	if h.gate != nil {
		select {
		case <-h.gate:
		case <-ctx.Done():
		}
	}
	h.mu.Lock()
	h.busy = false
	h.mu.Unlock()
}

func (h *handler) grant(reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.granted = append(h.granted, reason)
	signal(h.changed)
}

// wait waits until cond holds, which is called with the lock held.
func (h *handler) wait(t testing.TB, what string, cond func() bool) {
	t.Helper()
	deadline := time.After(patience)
	for {
		h.mu.Lock()
		ok := cond()
		h.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-h.changed:
		case <-deadline:
			t.Fatalf("waited in vain for %s: %d messages, granted %q", what, len(h.got), h.granted)
		}
	}
}

func (h *handler) waitFor(t testing.TB, n int) {
	t.Helper()
	h.wait(t, fmt.Sprintf("%d messages", n), func() bool { return len(h.got) >= n })
}

// messages are those that it got; reasons what was said of its subscription.
func (h *handler) messages() []Received {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.got)
}

func (h *handler) reasons() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.granted)
}

func (h *handler) isGranted() bool { return len(h.granted) > 0 && h.granted[len(h.granted)-1] == "" }

func (h *handler) to(filter string) Subscription {
	return Subscription{Filter: filter, Handle: h.handle, Granted: h.grant}
}

// receiving starts an uplink that has subscribed.
func receiving(t *testing.T, p Protocol, b *uplinktest.FaultBroker, q Queue, tweak func(*Uplink), subs ...Subscription) *Uplink {
	t.Helper()
	u, _ := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}, Birth: births, Subscriptions: subs}, q, nil, tweak)
	return u
}

func send(t *testing.T, b *uplinktest.FaultBroker, m uplinktest.Sent) {
	t.Helper()
	if err := b.Send(m); err != nil {
		t.Fatal(err)
	}
}

// waitAnswers waits for n PUBACKs of the client.
func waitAnswers(t *testing.T, b *uplinktest.FaultBroker, n int) []uplinktest.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.WaitAnswers(ctx, n); err != nil {
		t.Fatal(err)
	}
	return b.Answers()
}

// A message is answered when its handler has returned and not before, and all
// that came with it is handed over. Data goes on meanwhile.
func TestReceive(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		b := faultBroker(t)
		h, q := newHandler(make(chan struct{})), newTestQueue(t, 0)
		sub := h.to("cmd/+/req")
		sub.KeepRetain, sub.NoReplay = true, true
		u := receiving(t, p, b, q, nil, sub)
		h.wait(t, "the subscription", h.isGranted)
		if want := map[Protocol]byte{Protocol311: 1, Protocol5: 1 | 1<<3 | 2<<4}[p]; b.Options("cmd/+/req") != want {
			t.Errorf("options %#x, want %#x", b.Options("cmd/+/req"), want)
		}
		send(t, b, uplinktest.Sent{ID: 7, Topic: "cmd/alice/req", Payload: "on", QoS: 1, Dup: true, Retain: true,
			ResponseTopic: "cmd/alice/resp", Correlation: "c", Expiry: 30, ContentType: "text", User: [][2]string{{"k", "v"}}})
		h.waitFor(t, 1)
		q.add(50)
		q.wait(50)
		if a := b.Answers(); len(a) > 0 {
			t.Fatalf("answered before the handler returned: %v", a)
		}
		close(h.gate)
		if a := waitAnswers(t, b, 1); a[0].ID != 7 || a[0].Code != 0 {
			t.Errorf("answered %+v", a)
		}
		want := Received{Topic: "cmd/alice/req", Payload: []byte("on"), Retained: true, Dup: true, QoS: 1}
		if p == Protocol5 {
			want.Properties = Properties{ContentType: "text", ResponseTopic: "cmd/alice/resp", Correlation: []byte("c"), Expiry: 30 * time.Second, User: [][2]string{{"k", "v"}}}
		}
		if got := fmt.Sprintf("%+v", h.messages()[0]); got != fmt.Sprintf("%+v", want) {
			t.Errorf("received %s, want %+v", got, want)
		}
		send(t, b, uplinktest.Sent{Topic: "cmd/bob/req", Payload: "QoS 0"})
		h.waitFor(t, 2)
		if s := u.Stats(); s.Connects != 1 || s.Dropped+s.Unwanted > 0 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// What was not answered because the connection ended comes again, and is asked
// for again on the next connection. Handlers are never called side by side.
func TestReceiveAgain(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		b := faultBroker(t)
		h := newHandler(make(chan struct{}))
		receiving(t, p, b, newTestQueue(t, 0), nil, h.to("a"))
		h.wait(t, "the subscription", h.isGranted)
		send(t, b, uplinktest.Sent{ID: 1, Topic: "a", Payload: "x", QoS: 1})
		h.waitFor(t, 1)
		b.Cut()
		h.wait(t, "the next subscription", func() bool { return len(h.granted) == 2 })
		send(t, b, uplinktest.Sent{ID: 9, Topic: "a", Payload: "x", QoS: 1, Dup: true})
		close(h.gate)
		h.waitFor(t, 2)
		if a := waitAnswers(t, b, 1); len(a) != 1 || a[0].ID != 9 || a[0].Conn != 1 {
			t.Errorf("answered %+v", a)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if !h.got[1].Dup || h.got[0].Dup || h.beside {
			t.Errorf("received %+v; side by side: %v", h.got, h.beside)
		}
	})
}

// A flood while the handler stands still: memory is bounded, data is delivered.
func TestReceiveFlood(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		const n = 10_000
		b := faultBroker(t)
		h, q := newHandler(make(chan struct{})), newTestQueue(t, 0)
		u := receiving(t, p, b, q, nil, h.to("a"))
		h.wait(t, "the subscription", h.isGranted)
		body := strings.Repeat("x", 200)
		for i := range n {
			send(t, b, uplinktest.Sent{ID: uint16(i + 1), Topic: "a", Payload: body, QoS: 1})
			if i%100 == 0 {
				q.add(10)
			}
		}
		q.until("all is acknowledged", func() bool { return q.acked == len(q.msgs) })
		for u.Stats().Dropped < n-mqtt.MaxWaiting-1 { // the last of them may be on the way
			q.add(1)
			q.until("all is acknowledged", func() bool { return q.acked == len(q.msgs) })
		}
		waiting, bytes := u.receiver.Waiting()
		if waiting > mqtt.MaxWaiting || bytes > mqtt.MaxWaitingBytes {
			t.Errorf("%d messages of %d bytes wait", waiting, bytes)
		}
		if s := u.Stats(); s.Dropped != n-mqtt.MaxWaiting-1 || s.Connects != 1 {
			t.Errorf("stats: %+v", s)
		}
		if a := b.Answers(); len(a) > 0 {
			t.Errorf("%d answers", len(a))
		}
		close(h.gate)
		h.waitFor(t, mqtt.MaxWaiting+1)
		// A broker never sends again what was dropped: a new connection does away with that.
		waitFor(t, b, "it connects anew", func(_ []uplinktest.Received, connects, _ int) bool { return connects == 2 })
	})
}

// What nobody subscribed to, and what is too large, is counted and thrown away,
// and does not take up the broker's window.
func TestReceiveUnwanted(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		b := faultBroker(t)
		h := newHandler(nil)
		sub := h.to("a/#")
		sub.MaxBytes = 100
		u := receiving(t, p, b, newTestQueue(t, 0), nil, sub)
		h.wait(t, "the subscription", h.isGranted)
		send(t, b, uplinktest.Sent{ID: 1, Topic: "b", Payload: "x", QoS: 1})
		send(t, b, uplinktest.Sent{Topic: "b", Payload: "x"})
		send(t, b, uplinktest.Sent{ID: 2, Topic: "a/b", Payload: strings.Repeat("x", 101), QoS: 1})
		send(t, b, uplinktest.Sent{ID: 3, Topic: "a/b", Payload: strings.Repeat("x", 70_000+101), QoS: 1})
		send(t, b, uplinktest.Sent{ID: 4, Topic: "a", Payload: strings.Repeat("x", 100), QoS: 1})
		codes := []byte{0x10, 0x83, 0x83, 0}
		if p == Protocol311 {
			codes = make([]byte, 4)
		}
		for i, a := range waitAnswers(t, b, 4) {
			if int(a.ID) != i+1 || a.Code != codes[i] {
				t.Errorf("answer %d: %+v", i, a)
			}
		}
		if s := u.Stats(); s.Received != 1 || s.Unwanted != 2 || s.Dropped != 2 || len(h.messages()) != 1 {
			t.Errorf("stats: %+v; received %d", s, len(h.messages()))
		}
	})
}

// Each filter has its own answer; one that is refused is asked for again, and
// stops neither the others nor the data.
func TestSubscriptionRefused(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		code, want := byte(0x80), "SUBACK code 0x80"
		if p == Protocol5 {
			code, want = 0x87, "SUBACK code 0x87, not authorised"
		}
		b := faultBroker(t, uplinktest.Fault{RefuseFilters: "no", RefuseCode: code})
		yes, no, q := newHandler(nil), newHandler(nil), newTestQueue(t, 10)
		u := receiving(t, p, b, q, func(u *Uplink) { u.time.prove = time.Millisecond }, no.to("no/#"), yes.to("yes/#"))
		no.wait(t, "three refusals", func() bool { return len(no.granted) >= 3 })
		yes.wait(t, "the subscription", yes.isGranted)
		q.wait(10)
		send(t, b, uplinktest.Sent{ID: 1, Topic: "yes/x", QoS: 1})
		yes.waitFor(t, 1)
		if got := no.reasons()[0]; got != want {
			t.Errorf("refused with %q, want %q", got, want)
		}
		if s := u.Stats(); s.Connects != 1 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// A broker that ends the connection of who subscribes gets the data without.
func TestSubscriptionCostsTheConnection(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		b := faultBroker(t, uplinktest.Fault{CutSubscribes: "a"})
		h, q := newHandler(nil), newTestQueue(t, 100)
		u := receiving(t, p, b, q, func(u *Uplink) { u.unwelcome.strikes = 1 }, h.to("a"))
		q.wait(100)
		h.wait(t, "the reason", func() bool { return slices.Equal(h.granted, []string{errSubscribeEnds.Error()}) })
		if s := u.Stats(); s.Failures != 1 {
			t.Errorf("stats: %+v", s)
		}
	})
}

// Messages have QoS, the retained flag and properties, and any topic that MQTT allows.
func TestMessagesAsTheQueueWantsThem(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		b := faultBroker(t)
		q := newTestQueue(t, 4)
		q.msgs[0].Topic, q.msgs[0].Once = "$aws/things/x/jobs/get", true
		q.msgs[1].Topic, q.msgs[1].Retain = "/a//b/", true
		q.msgs[2].Properties = &Properties{ContentType: "application/x", ResponseTopic: "r/t", Correlation: []byte("42"),
			Expiry: 1500 * time.Millisecond, User: [][2]string{{"seq", "9"}}}
		_, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + b.Addr()}}, q, nil, nil)
		q.wait(4)
		stop()
		got := b.Received()
		if m := got[0]; m.Topic != "$aws/things/x/jobs/get" || m.QoS != 0 || m.Retain {
			t.Errorf("%+v", m)
		}
		if m := got[1]; m.Topic != "/a//b/" || m.QoS != 1 || !m.Retain {
			t.Errorf("%+v", m)
		}
		kind, props := "", ""
		if p == Protocol5 {
			kind, props = "application/x", "response=r/t correlation=42 expiry=2 seq=9"
		}
		if m := got[2]; m.ContentType != kind || m.Properties != props {
			t.Errorf("%+v", m)
		}
		if m := got[3]; m.QoS != 1 || m.Retain || m.Properties != "" {
			t.Errorf("%+v", m)
		}
	})
}

// Two uplinks and a real broker: what the one publishes the other receives, a
// retained message as a replay or not at all.
func TestMosquittoReceives(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		m := newMosquitto(t)
		q := newTestQueue(t, 1)
		q.msgs[0].Topic, q.msgs[0].Retain = "test/kept", true
		_, stop := run(t, Config{Protocol: p, ClientID: "sender", Servers: []string{"mqtt://" + m.addr}}, q, nil, nil)
		defer stop()
		q.wait(1)
		all, fresh := newHandler(nil), newHandler(nil)
		none := fresh.to("test/+/no")
		none.NoReplay = true
		_, end := run(t, Config{Protocol: p, ClientID: "receiver", Servers: []string{"mqtt://" + m.addr},
			Subscriptions: []Subscription{none, all.to("test/#")}}, newTestQueue(t, 0), nil, nil)
		defer end()
		all.wait(t, "the subscription", all.isGranted)
		all.waitFor(t, 1)
		q.mu.Lock()
		for i := range 500 {
			q.msgs = append(q.msgs, Message{Topic: "test/live", Payload: fmt.Appendf(nil, "message %d", i+1), Token: uint64(i + 2),
				Properties: &Properties{ResponseTopic: "test/answer"}})
		}
		q.change()
		q.mu.Unlock()
		all.waitFor(t, 501)
		for i, r := range all.messages() {
			answer := ""
			if p == Protocol5 && i > 0 {
				answer = "test/answer"
			}
			if string(r.Payload) != fmt.Sprintf("message %d", i) || r.Retained != (i == 0) || r.QoS != 1 || r.Properties.ResponseTopic != answer {
				t.Fatalf("message %d: %+v", i, r)
			}
		}
	})
}
