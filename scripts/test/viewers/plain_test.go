package viewers

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// plain is the yardstick: an event stream as one writes it first, a handler of
// net/http with a ticker for each client.
const plainEnv = "FIELDFERRY_PLAIN_EVENTS"

func TestMain(m *testing.M) {
	if os.Getenv(plainEnv) != "" {
		servePlain()
		return
	}
	os.Exit(m.Run())
}

func servePlain() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("url=http://" + l.Addr().String())
	event := "event: overview\ndata: " + strings.Repeat("x", 2000) + "\n\n"
	handler := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			if _, err := fmt.Fprint(w, event); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			select {
			case <-tick.C:
			case <-r.Context().Done():
				return
			}
		}
	}
	_ = (&http.Server{Handler: http.HandlerFunc(handler), ReadHeaderTimeout: time.Minute}).Serve(l)
}

// plainMemory is how many bytes more the yardstick takes with so many clients.
func plainMemory(t *testing.T, clients int) int64 {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.Command(self)
	run.Env = append(os.Environ(), plainEnv+"=1", "GOMEMLIMIT=100MiB")
	run.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := run.StdoutPipe()
	if err == nil {
		err = run.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = run.Process.Kill(); _ = run.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{t: t, pid: run.Process.Pid, base: strings.TrimPrefix(strings.TrimSpace(line), "url=")}
	before := d.rss()
	var events atomic.Int64
	for range clients {
		c, err := d.look(&events)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	until(t, "two events of all clients of the yardstick", func() bool { return events.Load() >= 2*int64(clients) })
	return d.rss() - before
}
