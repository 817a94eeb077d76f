package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
)

// The program follows SIGHUP, and a second signal does not wait for what the
// first one began; what was on disk by then is still there.
func TestSignals(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "fieldferry.yaml")
	config := func(rate int) {
		text := fmt.Sprintf(`gateway: {id: gw}
can: [{interface: "sim:ramp?rate=%d", name: engine}]
buffer: {path: buffer, sync_interval: 50ms}
uplink: {servers: ["mqtt://127.0.0.1:1"]}
`, rate)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config(100)
	d := startDaemon(t, path)
	d.Signal(syscall.SIGHUP)
	d.Says("the configuration is the same")
	if err := os.WriteFile(path, []byte("can: [{interfac: can0}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.Signal(syscall.SIGHUP)
	d.Says(path + ":1:8: can[0].interfac: ")
	d.Says("code=config_rejected")
	config(200)
	d.Signal(syscall.SIGHUP)
	d.Until("the next session", func() bool { return strings.Count(d.Log.String(), "code=started") == 2 })

	stored := func() uint64 { return rig.Pending(t, filepath.Join(dir, "buffer")) }
	before := stored()
	for deadline := time.Now().Add(20 * time.Second); before < 50; before = stored() {
		if time.Now().After(deadline) {
			t.Fatalf("%d records on disk", before)
		}
	}
	// Stopped, it takes both at once.
	d.Signal(syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCONT)
	if code := d.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if after := stored(); after < before {
		t.Errorf("%d records on disk, %d before", after, before)
	}
	if strings.Contains(d.Log.String(), "panic") {
		t.Error("a panic")
	}
}
