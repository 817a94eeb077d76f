package mutants

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fieldferry/scripts/test/rig"
)

const engine = "gateway/command/"

// Each of these would hurt somebody's plant.
var mutants = []struct{ name, file, old, new string }{
	{"a write is begun before it is on disk", engine + "execute.go", "err := e.note(&line{Op: opExecuting, key: h.key, Armed: e.arms(p, h)})", "var err error"},
	{"what had begun is begun again", engine + "engine.go", "if h.op == opExecuting {", "if false {"},
	{"a known id is not known", engine + "judge.go", "h != nil && r.Read == \"\"", "false && h != nil && r.Read == \"\""},
	{"a replay is taken", engine + "judge.go", "case r.Replay:", "case false:"},
	{"an epoch lasts forever", engine + "fresh.go", "return e.life - (now - k.born)", "return e.life"},
	{"a lost journal is not noticed", engine + "fresh.go", "if r.Epoch == \"\" && r.issued.Before(e.floor(wall)) {", "if false {"},
	{"an untrusted clock is believed", engine + "fresh.go", "case r.Issued != \"\" && !trusted:", "case false && !trusted:"},
	{"a late request is begun", engine + "execute.go", "if now >= h.Deadline {", "if false {"},
	{"everybody may", engine + "judge.go", "if !allowed(p.Allow, a.Who) {", "if false {"},
	{"a signature is not looked at", engine + "sign.go", "err != nil || !ed25519.Verify", "err != nil || false && !ed25519.Verify"},
	{"max_change is not looked at", engine + "execute.go", "case p.MaxChange != \"\" && change(", "case false && change("},
	{"min_interval is not kept", engine + "judge.go", "case p.wrote != 0 && now-p.wrote < p.MinInterval:", "case false:"},
	{"a pause is forgotten", engine + "journal.go", "if p := j.paused; p != nil {", "if p := j.paused; false && p != nil {"},
	{"a takeover suspends nothing", engine + "judge.go", "case a.By == ByMQTT && now < e.suspended:", "case false:"},
	{"a point on trial is written", engine + "judge.go", "case e.cfg.Trial[p.Name]:", "case false:"},
	{"a fallback does not come", engine + "fallback.go", "if a != nil && wait <= 0 {", "if false {"},
	{"a fallback dies with the process", engine + "journal.go", "j.armed[l.Armed.Point] = l.Armed\n\t\t}\n\t\th.keep", "}\n\t\th.keep"},
	{"a failed write arms its fallback", engine + "fallback.go", "case !out.Sent && now != nil && former == nil, ", "case "},
	{"a point goes without its fallback", engine + "fallback.go", "if !same(a.Point, a.Permit) {", "if false {"},
	{"what was read back is not compared", engine + "execute.go", "case !out.Verified:", "case false:"},
}

// With FIELDFERRY_MUTANTS set all of them are tried, as make mutants does.
func TestEachIsCaught(t *testing.T) {
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range mutants {
		if os.Getenv("FIELDFERRY_MUTANTS") == "" && i%5 > 0 { // each takes a build
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			overlay := rig.Overlay(t, filepath.Join(root, m.file), m.old, m.new)
			c := exec.Command("go", "test", "-count=1", "-short", "-vet=off", "-timeout=60s", "-overlay", overlay, "./"+filepath.Dir(m.file))
			c.Dir = root
			out, err := c.CombinedOutput()
			switch text := string(out); {
			case err == nil:
				t.Error("no test noticed it")
			case strings.Contains(text, "[build failed]"):
				t.Errorf("it does not build:\n%s", text)
			}
		})
	}
}
