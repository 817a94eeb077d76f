package powercut

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"fieldferry/gateway/ledger"
	"fieldferry/scripts/test/rig"
	"fieldferry/scripts/test/vm"
	"fieldferry/scripts/test/vm/nbd"
	"fieldferry/uplink/uplinktest"
)

// config is the daemon's. It is offline in a part of each of its lives, so
// that there is a backlog on disk when the power goes.
const config = `gateway: {id: gw}
can: [{interface: "sim:ramp?rate=200", name: engine}]
buffer: {path: /disk/buffer, sync_interval: 100ms, max_size: 64MiB}
uplink: {servers: ["mqtt://%s"], batch: {max_delay: 50ms}}
`

// room is what all lives of the guest share.
type room struct {
	t      *testing.T
	dir    string
	image  string
	files  map[string]string // in the guest
	broker *uplinktest.Broker
	rng    *rand.Rand

	mu     sync.Mutex
	ledger ledger.Ledger
	bad    error
}

func TestPowerCutsKeepThePromise(t *testing.T) {
	cuts, err := strconv.Atoi(os.Getenv("POWERCUTS"))
	if err != nil {
		t.Skip("POWERCUTS says how often the power is cut; make vm-test does")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(cuts+2)*2*time.Minute)
	defer cancel()
	r := newRoom(ctx, t)
	defer r.broker.Close()
	for n := range cuts {
		r.live(ctx, n)
		if t.Failed() {
			return
		}
	}
	r.last(ctx)
}

func newRoom(ctx context.Context, t *testing.T) *room {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := &room{t: t, dir: t.TempDir(), files: map[string]string{}, rng: rand.New(rand.NewPCG(seed, 1))}
	bin, err := rig.Binary(vm.ARM.Target())
	if err != nil {
		t.Fatal(err)
	}
	r.files["/bin/fieldferry"], r.files["/bin/crash"] = bin, filepath.Join(r.dir, "crash")
	if err := vm.ARM.Build(ctx, "fieldferry/scripts/tool/crash", r.files["/bin/crash"]); err != nil {
		t.Fatal(err)
	}
	r.image = filepath.Join(r.dir, "image")
	if err := errors.Join(os.WriteFile(r.image, nil, 0o600), os.Truncate(r.image, 192<<20)); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(ctx, "/sbin/mkfs.ext4", "-q", r.image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4 (scripts/deps vm): %v\n%s", err, out)
	}
	if r.broker, err = uplinktest.NewBroker(uplinktest.BrokerConfig{}); err != nil {
		t.Fatal(err)
	}
	if err := r.broker.Subscribe("fieldferry/gw/engine", r.take); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(r.broker.Addr())
	path := filepath.Join(r.dir, "fieldferry.yaml")
	if err := os.WriteFile(path, fmt.Appendf(nil, config, net.JoinHostPort(vm.HostAddr, port)), 0o600); err != nil {
		t.Fatal(err)
	}
	r.files["/fieldferry.yaml"] = path
	return r
}

// take keeps account of what the broker has.
func (r *room) take(_ string, data []byte) {
	m, err := ledger.Parse(data)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		_, err = r.ledger.Add(m)
	}
	if err != nil && r.bad == nil {
		r.bad = err
	}
}

func (r *room) delivered() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ledger.Records
}

// boot switches the guest on; its disk repairs itself from its journal.
func (r *room) boot(ctx context.Context) (*nbd.Disk, *vm.Guest) {
	r.t.Helper()
	socket := filepath.Join(r.dir, "disk.sock")
	d, err := nbd.Serve(r.image, socket)
	if err != nil {
		r.t.Fatal(err)
	}
	g, err := vm.Boot(ctx, vm.Config{Kind: vm.ARM, Files: maps.Clone(r.files), Network: true, Disk: socket})
	if err != nil {
		r.t.Fatal(err)
	}
	return d, g
}

// check verifies what the last cut has left.
func (r *room) check(ctx context.Context, g *vm.Guest) {
	r.t.Helper()
	commands := [][]string{{"/bin/crash", "check", "/disk/crash"}, {"/bin/fieldferry", "buffer", "verify", "/disk/buffer"}}
	for n := 0; r.files[fmt.Sprintf("/promises.%d", n)] != ""; n++ {
		commands[0] = append(commands[0], fmt.Sprintf("/promises.%d", n))
	}
	for _, argv := range commands {
		var out bytes.Buffer
		status, err := g.Run(ctx, vm.Command{Argv: argv, Output: &out})
		if err != nil || status != 0 {
			r.t.Fatalf("%s: status %d, %v\n%s", strings.Join(argv[:3], " "), status, err, &out)
		}
		r.t.Logf("%s", bytes.TrimSpace(out.Bytes()))
	}
}

// live is one life of the guest: it checks, works, and loses its power.
func (r *room) live(ctx context.Context, n int) {
	r.t.Helper()
	d, g := r.boot(ctx)
	if n > 0 {
		r.check(ctx, g)
	}
	promises := &lines{grown: make(chan struct{}, 1)}
	g.Start(vm.Command{Argv: []string{"/bin/crash", "work", "-heard", promises.listen(r.t), "/disk/crash"}})
	var daemon bytes.Buffer
	g.Start(vm.Command{Argv: []string{"/bin/fieldferry", "run", "-c", "/fieldferry.yaml"}, Output: &daemon})
	// Some of its life it is online, then offline; when the power goes is a
	// matter of what it has promised by then.
	for want := r.delivered() + uint64(50+r.rng.IntN(150)); r.delivered() < want; {
		promises.wait(ctx, r.t)
	}
	r.broker.Stop()
	for want := promises.count() + 5 + r.rng.IntN(60); promises.count() < want; {
		promises.wait(ctx, r.t)
	}
	cut := d.Cut
	if n%4 > 0 {
		cut = d.CutAtFlush
	}
	s := cut([]float64{0, 0.5, 0.9}[n%3], r.rng)
	g.PowerCut()
	if err := r.broker.Start(); err != nil {
		r.t.Fatal(err)
	}
	path := filepath.Join(r.dir, fmt.Sprintf("promises.%d", n))
	if err := os.WriteFile(path, promises.bytes(), 0o600); err != nil {
		r.t.Fatal(err)
	}
	r.files[fmt.Sprintf("/promises.%d", n)] = path
	r.t.Logf("cut %d: %d promises; %d writes, %d flushes, %d writes were not flushed, %d sectors of them stayed", n+1, promises.count(), s.Writes, s.Flushes, s.Lost, s.Kept)
}

// last delivers everything and counts.
func (r *room) last(ctx context.Context) {
	d, g := r.boot(ctx)
	r.check(ctx, g)
	var out bytes.Buffer
	var info struct{ Session uint64 }
	if _, err := g.Run(ctx, vm.Command{Argv: []string{"/bin/fieldferry", "buffer", "info", "--json", "/disk/buffer"}, Output: &out}); err != nil {
		r.t.Fatal(err)
	}
	if err := json.Unmarshal(out.Bytes(), &info); err != nil {
		r.t.Fatalf("%v\n%s", err, &out)
	}
	daemon := g.Start(vm.Command{Argv: []string{"/bin/fieldferry", "run", "-c", "/fieldferry.yaml"}})
	for !r.delivers(ctx, g, info.Session) {
		if ctx.Err() != nil {
			r.t.Fatal("the backlog does not come")
		}
	}
	if err := daemon.Signal(ctx, syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	if status, err := daemon.Wait(ctx); err != nil || status != 0 {
		r.t.Errorf("the daemon ended with %d, %v", status, err)
	}
	g.Close()
	if err := d.Close(); err != nil {
		r.t.Error(err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if gaps := r.ledger.Gaps(true); len(gaps) > 0 || r.ledger.Lost > 0 || r.bad != nil {
		r.t.Errorf("gaps %+v, %d lost, %v", gaps, r.ledger.Lost, r.bad)
	}
	r.t.Logf("the broker has %d records of %d sessions, %d came again", r.ledger.Records, len(r.ledger.Streams()), r.ledger.Duplicates)
}

// delivers reports whether the daemon runs in a session later than the one
// before it, and nothing of earlier ones waits any more.
func (r *room) delivers(ctx context.Context, g *vm.Guest, before uint64) bool {
	var out bytes.Buffer
	if status, err := g.Run(ctx, vm.Command{Argv: []string{"/bin/fieldferry", "status", "--json", "-c", "/fieldferry.yaml"}, Output: &out}); err != nil || status != 0 {
		return false // it is not up yet
	}
	var now struct {
		Session uint64
		Uplink  struct {
			Backlog uint64
			Acked   uint64 `json:"messages_acked"`
		}
	}
	return json.Unmarshal(out.Bytes(), &now) == nil && now.Session > before && now.Uplink.Acked > 0 && now.Uplink.Backlog == 0
}

// listen takes the promises of one workload over the guest's network, and
// confirms to it that they are here: what the power cut finds on its way was not
// promised.
func (l *lines) listen(t *testing.T) (address string) {
	t.Helper()
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = on.Close() })
	go func() { // until the guest is gone
		conn, err := on.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for in := bufio.NewReader(conn); ; {
			line, err := in.ReadBytes('\n')
			switch {
			case err != nil:
				return
			case string(line) == "heard?\n":
				_, _ = conn.Write([]byte{'.'}) // a guest without power does not read
			default:
				_, _ = l.Write(line)
			}
		}
	}()
	_, port, _ := net.SplitHostPort(on.Addr().String())
	return net.JoinHostPort(vm.HostAddr, port)
}

// lines collects the promises of a workload.
type lines struct {
	grown chan struct{}
	mu    sync.Mutex
	buf   bytes.Buffer
}

// Write takes a piece of output.
func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.grown <- struct{}{}:
	default:
	}
	return l.buf.Write(b)
}

func (l *lines) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.buf.Bytes())
}

func (l *lines) count() int { return bytes.Count(l.bytes(), []byte("\nsynced ")) }

// wait returns when there is more, or after a moment.
func (l *lines) wait(ctx context.Context, t *testing.T) {
	t.Helper()
	select {
	case <-l.grown:
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
		t.Fatalf("the guest does not get on: %s", l.bytes())
	}
}
