package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
	"fieldferry/scripts/test/vm"
)

const canLog = `(100.000000) can0 123#DEADBEEF
(100.010000) can1 0CF00400#0011223344556677
(100.020000) can0 20000004#0008000000000000
(100.030000) can0 456#R
(100.040000) can2 789#01
`

// The verbs below can, on a real SocketCAN interface: what one of them sends,
// another prints.
func TestCANVerbs(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	files := map[string]string{"/drive.log": filepath.Join(dir, "drive.log")}
	bin, err := rig.Binary(vm.UML.Target())
	if err != nil {
		t.Fatal(err)
	}
	files["/bin/fieldferry"] = bin
	if err := os.WriteFile(files["/drive.log"], []byte(canLog), 0o600); err != nil {
		t.Fatal(err)
	}
	guest, err := vm.Boot(ctx, vm.Config{Kind: vm.UML, Files: files})
	if errors.Is(err, vm.ErrMissing) && os.Getenv("CI") != "true" {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer guest.Close()
	can := func(want int, args ...string) string {
		t.Helper()
		out := &rig.Log{}
		status, err := guest.Run(ctx, vm.Command{Argv: append([]string{"/bin/fieldferry", "can"}, args...), Output: out})
		if err != nil || status != want {
			t.Fatalf("can %q: status %d, %v: %s", args, status, err, out)
		}
		return out.String()
	}
	for _, name := range []string{"vcan0", "vcan1"} {
		if err := guest.AddVCAN(ctx, name); err != nil {
			t.Fatal(err)
		}
	}

	out := &rig.Log{}
	dump := guest.Start(vm.Command{Argv: []string{"/bin/fieldferry", "can", "dump", "vcan0", "vcan1,#1FFFFFFF"}, Output: out})
	for _, name := range []string{"vcan0", "vcan1"} { // until it listens
		for !strings.Contains(out.String(), name+"  7FF   [0]") {
			can(0, "send", name, "7FF#")
		}
	}
	can(0, "send", "vcan0", "123#DE.AD.BE.EF", "00000123#R4", "321##1"+strings.Repeat("AB", 12))
	if said := can(0, "replay", "/drive.log", "vcan1", "--map", "vcan0=can1"); !strings.Contains(said, "sent 4 frames") {
		t.Errorf("replay said %q", said)
	}
	want := []string{
		"  vcan0  123   [4]  DE AD BE EF",
		"  vcan0  00000123   [4]  remote request",
		"  vcan0       321  [12]  AB AB AB AB AB AB AB AB AB AB AB AB",
		"  vcan1       123   [4]  DE AD BE EF",
		"  vcan0  0CF00400   [8]  00 11 22 33 44 55 66 77",
		"  vcan1       456   [0]  remote request",
		"  vcan1       789   [1]  01",
	}
	var got []string
	for ; len(got) < len(want) && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		got = slices.DeleteFunc(strings.Split(out.String(), "\n"), func(line string) bool {
			return line == "" || strings.Contains(line, "7FF   [0]")
		})
	}
	// Two interfaces are two sockets: their order towards each other may change.
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("dump printed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if err := dump.Signal(ctx, os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if status, err := dump.Wait(ctx); err != nil || status != 0 {
		t.Errorf("dump ended with status %d, %v", status, err)
	}

	if list := can(0, "list"); !strings.Contains(list, "vcan0    up    vcan, no controller") {
		t.Errorf("list printed %q", list)
	}
	can(0, "down", "vcan1")
	if said := can(1, "send", "vcan1", "123#"); !strings.Contains(said, "fieldferry can up vcan1") {
		t.Errorf("send on an interface that is down said %q", said)
	}
	can(0, "up", "vcan1")
	can(0, "send", "vcan1", "123#")
	can(1, "up", "vcan1", "--bitrate", "250000")
}
