package viewers

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"fieldferry/gateway/live"
	"fieldferry/scripts/test/rig"
)

var (
	clients = flag.Int("clients", 500, "event streams at the same time")
	seconds = flag.Int("seconds", 5, "how long they look")
)

const frameRate = 17_000 // a second, about what 1 Mbit/s carries without data

// daemon is the real program with a bus at full load and no broker.
type daemon struct {
	t     *testing.T
	pid   int
	base  string
	token string
}

func start(t *testing.T, max int) *daemon {
	t.Helper()
	dir := t.TempDir()
	bin := rig.Fieldferry(t)
	config := filepath.Join(dir, "f.yaml")
	text := fmt.Sprintf("gateway: {id: gw}\ncan: [{interface: \"sim:ramp?rate=%d\", name: bus}]\nbuffer: {path: %s/buf, max_size: 64MiB}\n"+
		"uplink: {servers: [\"mqtt://127.0.0.1:1\"]}\nweb: {listen: \"127.0.0.1:0\", max_clients: %d}\n", frameRate, dir, max)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	token, err := exec.Command(bin, "web", "token", "test", "-c", config).Output()
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "buf"))
	}
	if err != nil { // the buffer's directory is made by the daemon
		_ = os.Mkdir(filepath.Join(dir, "buf"), 0o700)
		if token, err = exec.Command(bin, "web", "token", "test", "-c", config).Output(); err != nil {
			t.Fatal(err)
		}
	}
	run := rig.StartDaemon(t, []string{"GOMEMLIMIT=100MiB"}, config)
	base := run.Finds(regexp.MustCompile(`url=(http://[0-9.:]+)`))[1]
	return &daemon{t, run.PID(), base, strings.TrimSpace(string(token))}
}

// rss is the resident memory of the daemon in bytes, cpu its processor time.
func (d *daemon) rss() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", d.pid))
	if err != nil {
		d.t.Fatal(err)
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(b))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

func (d *daemon) cpu() time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.pid))
	if err != nil {
		d.t.Fatal(err)
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}

func (d *daemon) status() *live.Snapshot {
	d.t.Helper()
	r, _ := http.NewRequest("GET", d.base+"/api/v1/status", nil)
	r.Header.Set("Authorization", "Bearer "+d.token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer resp.Body.Close()
	var s live.Snapshot
	if err := json.NewDecoder(resp.Body).Decode(&s); err != nil {
		d.t.Fatal(err)
	}
	return &s
}

// look opens an event stream and counts what comes.
func (d *daemon) look(events *atomic.Int64) (net.Conn, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.base, "http://"))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(conn, "GET /api/v1/events?topics=overview HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %s\r\n\r\n", d.token)
	if events != nil {
		go func() {
			in := bufio.NewReaderSize(conn, 512)
			for {
				line, err := in.ReadSlice('\n')
				if err != nil && err != bufio.ErrBufferFull {
					return
				}
				if bytes.HasPrefix(line, []byte("event: overview")) {
					events.Add(1)
				}
			}
		}()
	}
	return conn, nil
}

// Thousands look, a tenth of them never reads: acquisition loses nothing, and
// the gateway takes no more than it may.
func TestManyViewers(t *testing.T) {
	d := start(t, 5000)
	until(t, "frames", func() bool {
		s := d.status() // without sources before the first look
		return len(s.Sources) > 0 && s.Sources[0].Records > frameRate
	})
	time.Sleep(time.Second) // not a wait for something: the load without clients is measured
	before, cpu0 := d.rss(), d.cpu()
	time.Sleep(2 * time.Second)
	idle := (d.cpu() - cpu0).Seconds() / 2

	var events atomic.Int64
	conns := make([]net.Conn, *clients)
	for i := range conns {
		sink := &events
		if i%10 == 0 {
			sink = nil // never reads
		}
		c, err := d.look(sink)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	readers := int64(*clients - (*clients+9)/10)
	until(t, "the first event of all", func() bool { return events.Load() >= readers })
	begin, had, cpu1 := time.Now(), events.Load(), d.cpu()
	time.Sleep(time.Duration(*seconds) * time.Second)
	took := time.Since(begin).Seconds()
	busy := (d.cpu()-cpu1).Seconds()/took - idle
	after := d.rss()
	perClient := float64(events.Load()-had) / float64(readers) / took
	s := d.status()
	t.Logf("%d clients: %.1f MB more, %.1f %% of a core more, %.2f events/s each, %d frames lost, %d records", *clients,
		float64(after-before)/1e6, 100*busy, perClient, s.Sources[0].Lost+s.Sources[0].CAN.Dropped, s.Sources[0].Records)
	if s.Sources[0].CAN.Dropped > 0 {
		t.Errorf("%d frames lost", s.Sources[0].CAN.Dropped)
	}
	if perClient < 0.5 { // a snapshot a second
		t.Errorf("a client gets %.2f events a second", perClient)
	}
	more := after - before
	if more > 20<<20 {
		t.Errorf("%d bytes more with %d clients, at most 20 MiB are allowed", more, *clients)
	}
	plain := plainMemory(t, *clients)
	t.Logf("%.1f kB a client, with a plain handler of net/http %.1f kB", float64(more)/float64(*clients)/1e3, float64(plain)/float64(*clients)/1e3)
	if more >= plain { // what does not depend on their number weighs with a few hundred
		t.Errorf("%d bytes more, and %d with a plain handler", more, plain)
	}
}

// At its limit the server says so at once, and a slow sender of headers is closed.
func TestSurplus(t *testing.T) {
	d := start(t, 20)
	for range 20 {
		c, err := d.look(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	until(t, "503", func() bool {
		c, err := d.look(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		line, _ := bufio.NewReader(c).ReadString('\n')
		return strings.Contains(line, "503")
	})
	slow, err := net.Dial("tcp", strings.TrimPrefix(d.base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprint(slow, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
	_ = slow.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadAll(slow); err != nil {
		t.Errorf("a sender of half a header is not closed: %v", err)
	}
}

// Thousands of short requests are all answered.
func TestManyRequests(t *testing.T) {
	d := start(t, 5000)
	until(t, "a snapshot", func() bool { return d.status().Session > 0 })
	var group sync.WaitGroup
	var good, other atomic.Int64
	gate := make(chan struct{}, 500)
	for range *clients {
		group.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			r, _ := http.NewRequest("GET", d.base+"/api/v1/status", nil)
			r.Header.Set("Authorization", "Bearer "+d.token)
			r.Close = true
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				other.Add(1)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == 200 {
				good.Add(1)
			} else {
				other.Add(1)
			}
		})
	}
	group.Wait()
	t.Logf("%d answered, %d not, %.1f MB", good.Load(), other.Load(), float64(d.rss())/1e6)
	if other.Load() > 0 {
		t.Errorf("%d of %d requests were not answered", other.Load(), *clients)
	}
	if d.rss() > 100<<20 {
		t.Errorf("the daemon has %d bytes", d.rss())
	}
}

func until(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !cond(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: never", what)
		}
	}
}
