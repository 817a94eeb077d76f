package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"fieldferry/gateway/ledger"
	"fieldferry/scripts/test/rig"
	"fieldferry/scripts/test/vm"
)

// guestSite is fieldferry in a virtual machine with a real SocketCAN
// interface, and its broker on the host.
type guestSite struct {
	t       *testing.T
	ctx     context.Context
	guest   *vm.Guest
	log     *rig.Log
	broker  *mosquitto
	daemon  *vm.Process
	witness *subscriber
	ledger  ledger.Ledger
	probes  int             // probe frames seen
	burst   map[uint64]bool // numbers of burst frames seen
	losses  []string
}

const (
	probeID = "001"
	burstID = "100"
)

// newGuestSite boots one with a program of testdata, and more configuration.
func newGuestSite(ctx context.Context, t *testing.T, kind vm.Kind, program, more string) *guestSite {
	t.Helper()
	s := &guestSite{t: t, ctx: ctx, log: &rig.Log{}, burst: map[uint64]bool{}}
	broker := startMosquitto(t, "127.0.0.1")
	s.broker = broker
	s.witness = broker.subscribe(t, "site/#")
	dir := t.TempDir()
	bin, err := rig.Binary(kind.Target())
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"/bin/fieldferry": bin, "/bin/" + program: filepath.Join(dir, program)}
	if err := kind.Build(ctx, "fieldferry/scripts/test/e2e/testdata/"+program, files["/bin/"+program]); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "fieldferry.yaml")
	text := fmt.Sprintf(`gateway: {id: gw-vm}
can: [{interface: vcan0}]
buffer: {path: /tmp/buffer, max_size: 32MiB}
uplink: {servers: ["mqtt://%s:%d"], topic: "site/{gateway}/{source}", protocol: "5", compress: none}
%s`, vm.HostAddr, broker.Port, more)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	files["/etc/fieldferry.yaml"] = config
	guest, err := vm.Boot(ctx, vm.Config{Kind: kind, Files: files, Network: true})
	if errors.Is(err, vm.ErrMissing) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.guest = guest
	t.Cleanup(func() {
		guest.Close()
		if t.Failed() {
			t.Logf("log of the daemon in the guest:\n%s", s.log)
		}
	})
	return s
}

// start starts the daemon in the guest.
func (s *guestSite) start() *vm.Process {
	return s.guest.Start(vm.Command{Argv: []string{"/bin/fieldferry", "run", "-c", "/etc/fieldferry.yaml"}, Output: s.log})
}

// send runs the sender in the guest to its end.
func (s *guestSite) send(id string, first, count int, period time.Duration) {
	s.t.Helper()
	out := &rig.Log{}
	status, err := s.guest.Run(s.ctx, vm.Command{
		Argv:   []string{"/bin/canburst", "vcan0", id, strconv.Itoa(first), strconv.Itoa(count), period.String()},
		Output: out,
	})
	if err != nil || status != 0 {
		s.t.Fatalf("canburst: status %d, %v: %s", status, err, out)
	}
}

// take feeds what the witness has got into the account.
func (s *guestSite) take() {
	s.t.Helper()
	s.witness.mu.Lock()
	payloads := s.witness.payloads
	s.witness.payloads = nil
	s.witness.mu.Unlock()
	for _, p := range payloads {
		m, err := ledger.Parse(p)
		if err != nil {
			continue
		}
		entries, err := s.ledger.Add(m)
		if err != nil {
			s.t.Fatal(err)
		}
		for i, e := range entries {
			s.record(e, m.Records[i])
		}
	}
}

func (s *guestSite) record(e ledger.Entry, raw json.RawMessage) {
	switch e.Type {
	case "loss":
		s.losses = append(s.losses, string(raw))
	case "can":
		var r struct {
			ID, Data string
			Ext      bool
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			s.t.Fatal(err)
		}
		n, err := strconv.ParseUint(r.Data, 16, 64)
		if err != nil {
			s.t.Errorf("strange frame: %s", raw)
		}
		wantID := burstID
		if r.ID == probeID || r.ID == "00000"+probeID {
			s.probes++
			return
		}
		if r.Ext {
			wantID = "00000" + burstID
		}
		if r.ID != wantID || r.Ext != (n%3 == 2) {
			s.t.Errorf("strange frame: %s", raw)
		}
		s.burst[n] = true
	}
}

// hears sends probes until one arrives at the broker: the daemon reads the
// interface.
func (s *guestSite) hears(what string) {
	s.t.Helper()
	s.take()
	for before, tries := s.probes, 0; s.probes == before; tries++ {
		if tries > 200 {
			s.t.Fatalf("%s: no frame arrives at the broker", what)
		}
		s.send(probeID, 0, 2, 100*time.Millisecond)
		s.take()
	}
}

// gets waits until all numbers below n have arrived.
func (s *guestSite) gets(n int) {
	s.t.Helper()
	limit := time.NewTimer(60 * time.Second)
	defer limit.Stop()
	for s.take(); len(s.burst) < n; s.take() {
		select {
		case <-s.witness.changed:
		case <-s.witness.ended:
			s.t.Fatal("mosquitto_sub has ended")
		case <-limit.C:
			s.t.Fatalf("only %d of %d frames have arrived; losses: %v", len(s.burst), n, s.losses)
		}
	}
}

// guestKinds are the guests to test in: user-mode-linux, or those that
// VM_KINDS=uml,arm names.
func guestKinds() []vm.Kind {
	names := os.Getenv("VM_KINDS")
	if names == "" {
		return []vm.Kind{vm.UML}
	}
	var kinds []vm.Kind
	for name := range strings.SplitSeq(names, ",") {
		kinds = append(kinds, vm.Kind(name))
	}
	return kinds
}

// Frames on a real SocketCAN interface reach the broker, all of them, also
// after the interface was down, and after it was gone and came back.
func TestFramesOfARealInterface(t *testing.T) {
	for _, kind := range guestKinds() {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
			defer cancel()
			s := newGuestSite(ctx, t, kind, "canburst", "")
			daemon := s.start() // before there is an interface
			do := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			const burst = 3000
			do(s.guest.AddVCAN(ctx, "vcan0"))
			s.hears("an interface that came after the daemon")
			s.send(burstID, 0, burst, time.Millisecond)
			s.gets(burst)

			do(s.guest.SetLink(ctx, "vcan0", false))
			do(s.guest.SetLink(ctx, "vcan0", true))
			s.hears("an interface that was down")
			s.send(burstID, burst, burst, time.Millisecond)
			s.gets(2 * burst)

			do(s.guest.DeleteLink(ctx, "vcan0"))
			do(s.guest.AddVCAN(ctx, "vcan0"))
			s.hears("an interface that was gone")
			s.send(burstID, 2*burst, burst, time.Millisecond)
			s.gets(3 * burst)

			do(daemon.Signal(ctx, os.Interrupt))
			if status, err := daemon.Wait(ctx); err != nil || status != 0 {
				t.Errorf("the daemon ended with status %d, %v", status, err)
			}
			s.take()
			if gaps := s.ledger.Gaps(true); len(gaps) > 0 || len(s.losses) > 0 {
				t.Errorf("gaps %v, losses %v", gaps, s.losses)
			}
		})
	}
}
