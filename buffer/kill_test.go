package buffer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
)

// workloadEnv makes the test binary a workload: it appends to the buffer in
// the directory it names and prints what is promised, until it is killed.
const workloadEnv = "BUFFER_TEST_WORKLOAD"

// workload appends as fast as a bus, acknowledges some, and prints
// "session N", "synced SOURCE SEQ" for what is on disk and "acked SOURCE SEQ".
func workload() {
	b, err := Open(Config{Dir: os.Getenv(workloadEnv), SyncInterval: 20 * time.Millisecond, MaxSize: 4 << 20, SegmentSize: 128 << 10}, nil)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	out := bufio.NewWriter(os.Stdout)
	say := func(format string, a ...any) {
		fmt.Fprintf(out, format+"\n", a...)
		out.Flush()
	}
	say("session %d", b.Stats().Session)
	rng := rand.New(rand.NewPCG(uint64(os.Getpid()), 1))
	sources := []*Source{b.Source("a"), b.Source("b")}
	var batch Batch
	for {
		var seqs [2]uint64
		for range 1 + rng.IntN(50) {
			i := rng.IntN(2)
			seqs[i] = sources[i].Append(time.Now().UnixNano(), payload(sources[i].next))
		}
		if rng.IntN(3) == 0 {
			for {
				if st := b.Stats(); st.Unsynced == 0 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			for i, s := range sources {
				say("synced %s %d", s.Name(), max(seqs[i], s.next-1))
			}
		}
		if rng.IntN(4) == 0 {
			from := b.First()
			next, err := b.Read(from, &batch, rng.IntN(60), 1<<20)
			if err != nil {
				say("error %v", err)
				return
			}
			for _, r := range batch.Records {
				say("acked %d %s %d %d", r.Session, r.Source, r.Seq, max(r.Lost, 1))
			}
			b.Ack(from, next)
		}
	}
}

func payload(seq uint64) []byte {
	return append(binary.LittleEndian.AppendUint64(nil, seq), "0123456789abcdef"...)
}

// promise is what killed workloads promised.
type promise struct {
	session uint64
	synced  map[runKey]uint64   // up to this sequence number
	acked   map[runKey][]uint64 // pairs of first and number
}

func (p *promise) read(t *testing.T, out string) {
	t.Helper()
	lines := strings.Split(out, "\n")
	for _, line := range lines[:len(lines)-1] { // the last may be cut
		f := strings.Fields(line)
		switch {
		case f[0] == "session":
			var n uint64
			fmt.Sscan(f[1], &n)
			if n <= p.session {
				t.Fatalf("session %d after %d", n, p.session)
			}
			p.session = n
		case f[0] == "synced":
			k := runKey{p.session, f[1]}
			var n uint64
			fmt.Sscan(f[2], &n)
			p.synced[k] = max(p.synced[k], n)
		case f[0] == "acked":
			var s, q, n uint64
			fmt.Sscan(f[1], &s)
			fmt.Sscan(f[3], &q)
			fmt.Sscan(f[4], &n)
			k := runKey{s, f[2]}
			p.acked[k] = append(p.acked[k], q, n)
		default:
			t.Fatalf("workload: %s", line)
		}
	}
}

func TestKilledAtAnyTimeKeepsThePromise(t *testing.T) {
	cycles := 40
	if testing.Short() {
		cycles = 10
	}
	self := thisBinary(t)
	dir := t.TempDir()
	p := promise{synced: map[runKey]uint64{}, acked: map[runKey][]uint64{}}
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 2))
	opening := timeToOpen(t, self)
	promises := 0
	for c := range cycles {
		cmd := exec.Command(self[0], self[1:]...)
		cmd.Env = append(os.Environ(), workloadEnv+"="+dir)
		var out strings.Builder
		cmd.Stdout = &out
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// Where in its life it is killed is the random part of the test:
		// while it opens, or while it works.
		time.Sleep(time.Duration(rng.Int64N(int64(2*opening + 50*time.Millisecond))))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		p.read(t, out.String())
		promises += strings.Count(out.String(), "\n")
		if c%20 == 19 || c == cycles-1 {
			p.check(t, dir)
		}
	}
	t.Logf("%d kills, %d promises, %d sessions", cycles, promises, p.session)
	if promises < cycles {
		t.Errorf("the workload was killed before it promised anything: %d promises in %d cycles", promises, cycles)
	}
}

// timeToOpen measures how long a workload takes to begin on this machine.
func timeToOpen(t *testing.T, self []string) time.Duration {
	t.Helper()
	cmd := exec.Command(self[0], self[1:]...)
	cmd.Env = append(os.Environ(), workloadEnv+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(begin)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil || !strings.HasPrefix(line, "session") {
		t.Fatalf("the workload does not begin: %q, %v", line, err)
	}
	return took
}

// thisBinary returns the command that runs the test binary, also where that
// is done by an emulator the kernel does not know of.
func thisBinary(t *testing.T) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	err = exec.Command(exe, "-test.run=^$").Run()
	if errors.Is(err, syscall.ENOEXEC) {
		qemu, err := exec.LookPath("qemu-" + runtime.GOARCH)
		if err != nil {
			t.Fatalf("the test binary can only be run by an emulator: %v", err)
		}
		return []string{qemu, exe}
	}
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe}
}

// check opens the buffer and looks for everything that was promised: it was
// acknowledged, is there, or is accounted for.
func (p *promise) check(t *testing.T, dir string) {
	t.Helper()
	b := mustOpen(t, Config{Dir: dir, SyncInterval: time.Second, MaxSize: 4 << 20, SegmentSize: 128 << 10})
	defer mustClose(t, b)
	p.session = max(p.session, b.Stats().Session)
	have := map[runKey]map[uint64]bool{}
	note := func(k runKey, from, n uint64) {
		if have[k] == nil {
			have[k] = map[uint64]bool{}
		}
		for i := range n {
			have[k][from+i] = true
		}
	}
	all, _ := readAll(t, b, 0)
	last := map[runKey]uint64{}
	for _, r := range all {
		k := runKey{r.Session, r.Source}
		if r.Seq <= last[k] {
			t.Fatalf("%v: %d after %d", k, r.Seq, last[k])
		}
		last[k] = r.Seq + max(r.Lost, 1) - 1
		if r.Lost == 0 && string(r.Data) != string(payload(r.Seq)) {
			t.Fatalf("%v %d has data %q", k, r.Seq, r.Data)
		}
		if r.Lost > 0 && r.Reason != Evicted {
			t.Fatalf("%v: lost %d from %d, %v", k, r.Lost, r.Seq, r.Reason)
		}
		note(k, r.Seq, max(r.Lost, 1))
	}
	for k, a := range p.acked {
		for i := 0; i < len(a); i += 2 {
			note(k, a[i], a[i+1])
		}
	}
	for k, upto := range p.synced {
		for seq := uint64(1); seq <= upto; seq++ {
			if !have[k][seq] {
				t.Fatalf("%v: %d was on disk (up to %d) and is neither there nor acknowledged", k, seq, upto)
			}
		}
	}
}
