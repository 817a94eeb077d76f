package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"fieldferry/bus"
	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/modbustest"
	"fieldferry/gateway/live"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type nobody struct{}

func (nobody) Reading(*modbus.Reading) {}
func (nobody) Event(bus.Event)         {}

// daemon serves a line with one slave; stop ends it.
func daemon(t *testing.T, path string) (stop func() error) {
	t.Helper()
	pty, err := modbustest.OpenPTY()
	if err != nil {
		t.Fatal(err)
	}
	slave := modbustest.NewSlave(map[byte]*modbustest.Unit{17: {Holding: map[uint16]uint16{7: 700, 8: 800}, Coils: map[uint16]bool{1: true, 2: false}}})
	line, err := modbus.NewLine(modbus.LineConfig{Name: "line1", Port: pty.Path, Timeout: 2 * time.Second}, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { slave.Run(ctx, pty) })
	group.Go(func() { _ = line.Run(ctx, nobody{}) })
	served := make(chan error, 1)
	go func() {
		served <- Serve(ctx, path, Door{Lines: map[string]Line{"line1": line}, Snapshot: func() *live.Snapshot { return &live.Snapshot{Gateway: "gw-01"} }})
	}()
	end := sync.OnceValue(func() error {
		cancel()
		pty.Close()
		group.Wait()
		return <-served
	})
	t.Cleanup(func() { _ = end() })
	return end
}

// ask waits until the daemon is there and its line open.
func ask(t *testing.T, path string, r Request) Reply {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		reply, err := Ask(t.Context(), path, r)
		starting := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) || reply.Error == modbus.ErrNotOpen.Error()
		if err == nil && !starting {
			return reply
		}
		if !starting || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ctl") // t.TempDir may be too long
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path, err := Path(dir)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAsk(t *testing.T) {
	path := socketPath(t)
	if _, err := Ask(t.Context(), path, Request{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a daemon: %v", err)
	}
	stop := daemon(t, path)
	if r := ask(t, path, Request{Line: "line1", Unit: 17, Table: "holding", Address: 7, Count: 2}); !slices.Equal(r.Words, []uint16{700, 800}) || r.Error != "" {
		t.Errorf("%+v", r)
	}
	if r := ask(t, path, Request{Line: "line1", Unit: 17, Table: "coil", Address: 1, Count: 2}); !slices.Equal(r.Words, []uint16{1, 0}) {
		t.Errorf("%+v", r)
	}
	if r := ask(t, path, Request{Line: "line1", Unit: 17, Table: "holding", Address: 8, Count: 2}); r.Exception == nil || *r.Exception != 2 || r.Error != "exception 2: illegal data address" {
		t.Errorf("%+v", r)
	}
	for _, c := range []struct {
		r    Request
		want string
	}{
		{Request{Line: "line2", Unit: 17, Table: "holding", Count: 1}, "no Modbus line"},
		{Request{Line: "line1", Unit: 17, Table: "holdings", Count: 1}, "unknown register table"},
		{Request{Line: "line1", Unit: 17, Table: "holding", Count: 126}, "1 to 125"},
		{Request{Line: "line1", Unit: 0, Table: "holding", Count: 1}, "broadcast"},
	} {
		if r := ask(t, path, c.r); !strings.Contains(r.Error, c.want) || r.Words != nil {
			t.Errorf("%+v: %+v", c.r, r)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
}

// The state is for whoever can open the socket, devices are for the owner.
func TestWhoMayAsk(t *testing.T) {
	line, err := modbus.NewLine(modbus.LineConfig{Name: "line1", Port: "/dev/null"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var snapshot *live.Snapshot
	door := Door{Lines: map[string]Line{"line1": line}, Snapshot: func() *live.Snapshot { return snapshot }}
	status, read := []byte(`{"verb":"status"}`), []byte(`{"line":"line1","unit":17,"register":"holding","count":1}`)
	if r := door.answer(t.Context(), status, "root", false); r.Status != nil || !strings.Contains(r.Error, "starting") {
		t.Errorf("before the first snapshot: %+v", r)
	}
	snapshot = &live.Snapshot{Gateway: "gw-01"}
	if r := door.answer(t.Context(), status, "root", false); r.Status == nil || r.Status.Gateway != "gw-01" {
		t.Errorf("the state: %+v", r)
	}
	if r := door.answer(t.Context(), read, "root", false); !strings.Contains(r.Error, "only root") {
		t.Errorf("a device, by somebody else: %+v", r)
	}
	if r := door.answer(t.Context(), read, "root", true); r.Error != modbus.ErrNotOpen.Error() {
		t.Errorf("a device, by the owner: %+v", r)
	}
	if r := door.answer(t.Context(), []byte(`{"verb":"reboot"}`), "root", true); !strings.Contains(r.Error, "does not know") {
		t.Errorf("an unknown verb: %+v", r)
	}
}

// What a killed daemon has left is replaced; what is no socket is not touched.
func TestStaleSocket(t *testing.T) {
	path := socketPath(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	if _, err := Ask(t.Context(), path, Request{}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("with a stale socket: %v", err)
	}
	stop := daemon(t, path)
	if r := ask(t, path, Request{Line: "line1", Unit: 17, Table: "holding", Address: 7, Count: 1}); len(r.Words) != 1 {
		t.Errorf("%+v", r)
	}
	_ = stop()
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Serve(t.Context(), path, Door{}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("where a file is: %v", err)
	}
	if b, err := os.ReadFile(path); string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestPathTooLong(t *testing.T) {
	for _, n := range []int{90, 99, 100, 300} {
		dir := "/" + strings.Repeat("d", n-1)
		path, err := Path(dir)
		if (err == nil) != (n+len("/control") <= 107) || err == nil && path != filepath.Join(dir, "control") {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// Whatever a peer sends, and however many do, the next one is answered.
func TestHostilePeers(t *testing.T) {
	path := socketPath(t)
	daemon(t, path)
	good := Request{Line: "line1", Unit: 17, Table: "holding", Address: 7, Count: 1}
	ask(t, path, good)
	for _, text := range []string{
		"", "\n", "{}\n", "null\n", "[]\n", "{", strings.Repeat("{", 2000), strings.Repeat("x", 1<<20) + "\n", "\x00\xff\n",
		`{"line":"line1","unit":256}` + "\n", `{"line":"line1","unit":17,"register":"holding","address":-1,"count":1}` + "\n",
		`{"line":"line1","unit":17,"register":"holding","count":99999999999999999999}` + "\n",
		`{"line":"` + strings.Repeat("l", 900) + `"}` + "\n",
	} {
		peer, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = peer.Write([]byte(text)); _ = peer.(*net.UnixConn).CloseWrite() }()
		if line, err := bufio.NewReader(peer).ReadBytes('\n'); err == nil {
			var r Reply
			if err := json.Unmarshal(line, &r); err != nil || r.Error == "" || r.Words != nil {
				t.Errorf("%.40q: %s, %v", text, line, err)
			}
		}
		peer.Close()
	}
	// Peers that say nothing hold their places only for a while.
	for range maxPeers - 1 {
		peer, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer peer.Close()
	}
	if r := ask(t, path, good); len(r.Words) != 1 {
		t.Errorf("%+v", r)
	}
}

func FuzzAnswer(f *testing.F) {
	line, err := modbus.NewLine(modbus.LineConfig{Name: "l", Port: "/dev/null"}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(`{"line":"l","unit":1,"register":"holding","address":1,"count":1}`))
	f.Add([]byte(`{"line":"l"`))
	f.Add([]byte(`{"verb":"status"}`))
	door := Door{Lines: map[string]Line{"l": line}, Snapshot: func() *live.Snapshot { return &live.Snapshot{} }}
	f.Fuzz(func(t *testing.T, text []byte) {
		if r := door.answer(t.Context(), text, "root", true); r.Error == "" && r.Status == nil || r.Words != nil {
			t.Errorf("%+v", r)
		}
	})
}

// changer is a daemon that notes who changes what.
type changer struct{ did []string }

func (c *changer) LookAtConfig(effective bool) live.ConfigState {
	return live.ConfigState{Path: "/f.yaml", Settings: make([]live.ConfigSetting, map[bool]int{true: 1}[effective])}
}

func (c *changer) ApplyConfig(_ context.Context, by string, n live.ConfigCandidate) (live.ConfigAttempt, error) {
	c.did = append(c.did, by+" apply "+string(n.Text[:min(len(n.Text), 5)])+n.Watch.String())
	return live.ConfigAttempt{ID: "1"}, nil
}

func (c *changer) RollBackConfig(_ context.Context, by string, watch time.Duration) (live.ConfigAttempt, error) {
	c.did = append(c.did, by+" rollback "+watch.String())
	return live.ConfigAttempt{}, errors.New("no former")
}

func (c *changer) KeepConfig(_ context.Context, by string) error {
	c.did = append(c.did, by+" keep")
	return nil
}

func (c *changer) OnTrial() time.Time { return time.Time{} }

// The configuration is for everybody to see who may see the state, and for the
// owner to change.
func TestConfig(t *testing.T) {
	c := &changer{}
	door := Door{Configs: c, Snapshot: func() *live.Snapshot { return nil }}
	ask := func(owner bool, verb, more string) Reply {
		return door.answer(t.Context(), []byte(`{"verb":"`+verb+`"`+more+`}`), "anna", owner)
	}
	if r := ask(false, ConfigShow, ""); r.Config == nil || r.Config.Path != "/f.yaml" || len(r.Config.Settings) > 0 {
		t.Errorf("%+v", r)
	}
	if r := ask(false, ConfigShow, `,"config":{"effective":true}`); r.Config == nil || len(r.Config.Settings) != 1 {
		t.Errorf("%+v", r)
	}
	for _, verb := range []string{ConfigApply, ConfigKeep, ConfigRollBack} {
		if r := ask(false, verb, ""); !strings.Contains(r.Error, "only root") || len(c.did) > 0 {
			t.Errorf("%s: %+v", verb, r)
		}
	}
	if r := ask(true, ConfigApply, `,"config":{"candidate":{"text":"YWJj","watch":60000000000}}`); r.Attempt == nil || r.Attempt.ID != "1" {
		t.Errorf("%+v", r)
	}
	if r := ask(true, ConfigRollBack, ""); r.Error != "no former" {
		t.Errorf("%+v", r)
	}
	if r := ask(true, ConfigKeep, ""); r.Error != "" {
		t.Errorf("%+v", r)
	}
	if got := strings.Join(c.did, ", "); got != "cli:anna apply abc1m0s, cli:anna rollback 0s, cli:anna keep" {
		t.Error(got)
	}
	door.Configs = nil
	if r := ask(true, ConfigShow, ""); r.Error == "" {
		t.Errorf("%+v", r)
	}
}

// A configuration is larger than other requests: the owner may send one, over
// the socket itself.
func TestLargeRequest(t *testing.T) {
	path := socketPath(t)
	ctx, cancel := context.WithCancel(t.Context())
	c := &changer{}
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, path, Door{Configs: c, Snapshot: func() *live.Snapshot { return nil }}) }()
	large := Request{Verb: ConfigApply, Config: &ConfigRequest{Candidate: live.ConfigCandidate{Text: []byte(strings.Repeat("x", 1<<20))}}}
	if r := ask(t, path, large); r.Attempt == nil {
		t.Errorf("%+v", r)
	}
	large.Config.Candidate.Text = []byte(strings.Repeat("x", 2<<20))
	if r, err := Ask(t.Context(), path, large); err == nil && !strings.Contains(r.Error, "not a request") {
		t.Errorf("%+v", r)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

// going is a changer whose door ends with what is asked of it.
type going struct {
	changer
	end func()
}

func (g *going) ApplyConfig(ctx context.Context, by string, c live.ConfigCandidate) (live.ConfigAttempt, error) {
	g.end()
	<-ctx.Done()
	return g.changer.ApplyConfig(ctx, by, c)
}

// Whoever hands a configuration in hears that it is on its way, although the
// gateway with this door gives way to it meanwhile.
func TestAnswerOfADoorThatEnds(t *testing.T) {
	for range 20 {
		path := socketPath(t)
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- Serve(ctx, path, Door{Configs: &going{end: cancel}, Snapshot: func() *live.Snapshot { return nil }})
		}()
		r := ask(t, path, Request{Verb: ConfigApply, Config: &ConfigRequest{Candidate: live.ConfigCandidate{Text: []byte("x")}}})
		if r.Attempt == nil {
			t.Errorf("%+v", r)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}
