package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gate is a writer that takes nothing until it is opened.
type gate struct {
	open chan struct{}
	mu   sync.Mutex
	got  bytes.Buffer
}

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.got.Write(p)
}

func TestWriterNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		w := NewWriter(g, nil)
		for i := range 3 * MaxLines {
			fmt.Fprintf(w, "line %d\n", i)
		}
		begin := time.Now()
		close(g.open)
		w.Close(time.Second)
		if since := time.Since(begin); since != 0 {
			t.Errorf("closed after %v", since)
		}
		lines := strings.Split(strings.TrimSpace(g.got.String()), "\n")
		var lost int
		if _, err := fmt.Sscanf(lines[len(lines)-1], "%d log lines were dropped", &lost); err != nil || lost+len(lines)-1 != 3*MaxLines {
			t.Errorf("%d lines, and %q", len(lines), lines[len(lines)-1])
		}
	})
}

func TestWriterEndsWithAReaderThatIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		w := NewWriter(g, nil)
		io.WriteString(w, "line\n")
		begin := time.Now()
		w.Close(time.Second)
		if since := time.Since(begin); since != time.Second {
			t.Errorf("closed after %v", since)
		}
		close(g.open)
	})
}

func TestWriterIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		w := NewWriter(g, nil)
		for range 100 {
			w.Write(make([]byte, MaxBytes/10))
		}
		w.mu.Lock()
		if w.bytes > MaxBytes {
			t.Errorf("%d bytes wait", w.bytes)
		}
		w.mu.Unlock()
		close(g.open)
		w.Close(time.Second)
	})
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("no reader") }

func TestWriterSwallowsErrors(t *testing.T) {
	w := NewWriter(broken{}, nil)
	if n, err := io.WriteString(w, "line\n"); n != 5 || err != nil {
		t.Error(n, err)
	}
	w.Close(time.Minute)
}

// logOf is a limited log whose minutes are counted by hand.
func logOf() (log *slog.Logger, out *bytes.Buffer, l *Limiter, pass func(time.Duration)) {
	now := time.Unix(1e9, 0)
	out = &bytes.Buffer{}
	l = NewLimiter(func() time.Time { return now })
	h := slog.NewTextHandler(out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	return slog.New(l.Handler(h)), out, l, func(d time.Duration) { now = now.Add(d) }
}

func TestLimiter(t *testing.T) {
	log, out, l, pass := logOf()
	for range 1244 {
		log.With("source", "engine").Warn("bad line", "line", 7)
	}
	log.Warn("bad line", "source", "pump") // another place
	log.Error("bad line", "source", "engine")
	pass(59 * time.Second)
	log.Warn("bad line", "source", "engine")
	if n := strings.Count(out.String(), "\n"); n != PerKind+2 {
		t.Errorf("%d lines", n)
	}
	out.Reset()
	pass(time.Second)
	l.Flush()
	const want = `level=WARN msg="bad line (and 1,235 more like this in the last minute)" source=engine` + "\n"
	if out.String() != want {
		t.Errorf("%s", out)
	}
	out.Reset()
	log.Warn("bad line", "source", "engine")
	pass(time.Minute)
	l.Flush()
	if strings.Count(out.String(), "\n") != 1 {
		t.Errorf("%s", out)
	}
}

// Whatever is in a line, there are never more than the stated number of them.
func TestLimiterBoundsEverything(t *testing.T) {
	log, out, l, pass := logOf()
	for range 5 {
		for i := range 20_000 {
			log.Info(fmt.Sprintf("message %d", i%5000), "source", i)
		}
		if n := strings.Count(out.String(), "\n"); n > PerMinute {
			t.Errorf("%d lines in a minute", n)
		}
		out.Reset()
		pass(time.Minute)
	}
	l.Flush()
	if !strings.Contains(out.String(), "other kinds") || len(l.kinds) > maxKinds {
		t.Errorf("%d kinds; %s", len(l.kinds), out)
	}
}

func TestLimiterWithAClockSetBack(t *testing.T) {
	log, out, _, pass := logOf()
	for range 20 {
		log.Info("x")
	}
	pass(-time.Hour)
	log.Info("x")
	if n := strings.Count(out.String(), "\n"); n != PerKind+2 {
		t.Errorf("%d lines", n)
	}
}
