package daemon

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fieldferry/buffer"
	"fieldferry/gateway/config"
)

// heard are what a daemon without a gateway says, one after the other.
type heard struct {
	mu      sync.Mutex
	printed []string
	log     bytes.Buffer
	status  chan string
	pings   int
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.Write(b)
}

func (s *site) hears(o *Options) *heard {
	h := &heard{status: make(chan string, 100)}
	*o = s.options(h)
	o.Print = func(p config.Problem) { h.printed = append(h.printed, p.String()) }
	o.Notify = func(state string) { h.status <- state }
	o.Ping = func() { h.pings++ }
	return h
}

func (h *heard) until(t *testing.T, want string) {
	t.Helper()
	for {
		select {
		case got := <-h.status:
			if strings.Contains(got, want) {
				return
			}
		case <-time.After(time.Minute):
			t.Fatalf("%q was not notified", want)
		}
	}
}

const never = 24 * time.Hour

// A daemon that has nothing to run says why, once, and runs as soon as a reload
// finds a configuration that can be used.
func TestAwaitReload(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.put("f.yaml", text("g", "a.dbc", nobody)+"cna: []\n")
	var o Options
	h := s.hears(&o)
	d, err := Start(o)
	if !errors.Is(err, ErrUnusable) {
		t.Fatal(err)
	}
	hangup, ended := make(chan os.Signal), make(chan error, 1)
	go func() { ended <- d.await(t.Context(), hangup, err, awaiting{never, never}) }()
	h.until(t, "READY=1")
	h.until(t, "STATUS=Nothing runs, the configuration cannot be used: "+s.file+":7:1: cna: unknown key")
	for range 3 { // it is still wrong: the same is not said again
		hangup <- syscall.SIGHUP
		h.until(t, "READY=1")
		h.until(t, "STATUS=Nothing runs")
	}
	s.put("conf.d/x.yaml", "dog: {}\n")
	hangup <- syscall.SIGHUP
	h.until(t, "STATUS=Nothing runs")
	if err := os.RemoveAll(s.dir + "/conf.d"); err != nil {
		t.Fatal(err)
	}
	s.put("f.yaml", text("g", "a.dbc", nobody))
	hangup <- syscall.SIGHUP
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if d.now == nil || d.now.cfg.Gateway.ID != "g" || h.pings != 5 {
		t.Errorf("%+v, %d signs of life", d.now, h.pings)
	}
	if said := strings.Join(h.printed, "\n"); strings.Count(said, "cna") != 2 || strings.Count(said, "dog") != 1 {
		t.Errorf("%s", said)
	}
	if log := h.log.String(); strings.Count(log, "nothing runs") != 1 || !strings.Contains(log, "attempts=5") || strings.Contains(log, "config_rejected") {
		t.Errorf("%s", log)
	}
	if err := d.gateway.Close(); err != nil {
		t.Error(err)
	}
}

// Nobody need say that the file was mended, nor that something else that was in
// the way is gone.
func TestAwaitLooks(t *testing.T) {
	t.Parallel()
	for what, often := range map[string]awaiting{"the file": {time.Millisecond, never}, "the buffer": {time.Millisecond, 20 * time.Millisecond}} {
		s := newSite(t)
		mend := func() { s.put("f.yaml", text("g", "a.dbc", nobody)) }
		if what == "the buffer" {
			mend()
			b, err := buffer.Open(buffer.Config{Dir: s.dir + "/taken"}, nil)
			if err != nil {
				t.Fatal(err)
			}
			s.put("f.yaml", strings.Replace(text("g", "a.dbc", nobody), "path: buffer", "path: taken", 1))
			mend = func() {
				if err := b.Close(); err != nil {
					t.Error(err)
				}
			}
		}
		var o Options
		h := s.hears(&o)
		d, err := Start(o)
		if err == nil {
			t.Fatal("it starts")
		}
		ended := make(chan error, 1)
		go func() { ended <- d.await(t.Context(), nil, err, often) }()
		h.until(t, "STATUS=Nothing runs")
		if what == "the buffer" {
			h.until(t, "STATUS=Nothing runs, the gateway cannot be opened")
		}
		mend()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(h.log.String(), "the gateway cannot be opened"); n > 1 {
			t.Errorf("%s: the same was said %d times", what, n)
		}
		if err := d.gateway.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A stop ends it.
func TestAwaitStops(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var o Options
	h := s.hears(&o)
	d, err := Start(o)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- d.Await(ctx, nil, err) }()
	h.until(t, "STATUS=Nothing runs, the configuration cannot be used: "+s.file+": the configuration does not exist")
	cancel()
	if err := <-ended; !errors.Is(err, ErrStopped) {
		t.Error(err)
	}
}
