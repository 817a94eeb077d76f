package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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
	signal := func(list ...syscall.Signal) {
		t.Helper()
		for _, s := range list {
			if err := d.cmd.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	signal(syscall.SIGHUP)
	d.waitLog("the configuration is the same")
	if err := os.WriteFile(path, []byte("can: [{interfac: can0}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	signal(syscall.SIGHUP)
	d.waitLog(path + ":1:8: can[0].interfac: ")
	d.waitLog("code=config_rejected")
	config(200)
	signal(syscall.SIGHUP)
	d.until("the next session", func() bool { return strings.Count(d.log.String(), "code=started") == 2 })

	stored := func() (n uint64) {
		var info struct{ Pending uint64 }
		if err := json.Unmarshal([]byte(pending(t, filepath.Join(dir, "buffer"))), &info); err != nil {
			t.Fatal(err)
		}
		return info.Pending
	}
	before := stored()
	for deadline := time.Now().Add(20 * time.Second); before < 50; before = stored() {
		if time.Now().After(deadline) {
			t.Fatalf("%d records on disk", before)
		}
	}
	// Stopped, it takes both at once.
	signal(syscall.SIGSTOP, syscall.SIGTERM, syscall.SIGINT, syscall.SIGCONT)
	<-d.done
	if code := d.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if after := stored(); after < before {
		t.Errorf("%d records on disk, %d before", after, before)
	}
	if strings.Contains(d.log.String(), "panic") {
		t.Error("a panic")
	}
}
