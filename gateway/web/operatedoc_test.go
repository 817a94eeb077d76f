package web

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fieldferry/gateway/live"
)

const operate = "../../docs/operate.md"

// operateDoc is docs/operate.md, and the rows of its tables by their first cell.
func operateDoc(t *testing.T) (text string, rows map[string]string) {
	t.Helper()
	b, err := os.ReadFile(operate)
	if err != nil {
		t.Fatal(err)
	}
	rows = map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|(.*)\\|$").FindAllStringSubmatch(string(b), -1) {
		rows[m[1]] = m[2]
	}
	return string(b), rows
}

// The document has each metric with its type and its help, and none that there is not.
func TestTheDocumentHasEveryMetric(t *testing.T) {
	b := newBench(t, Config{Metrics: Metrics{Signals: []string{"line1/meter/u"}}})
	b.view.Publish(everything())
	r := b.ask("GET", "/metrics", "", "Authorization", b.token(Read))
	got, _ := io.ReadAll(r.Body)
	text, rows := operateDoc(t)
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^# HELP (\S+) (.*)\n# TYPE \S+ (\w+)$`).FindAllStringSubmatch(string(got), -1) {
		name, help, kind := m[1], strings.TrimSuffix(m[2], "."), m[3]
		known[name] = true
		if row := rows[name]; !strings.HasPrefix(row, " "+kind+" | ") || !strings.Contains(row, " "+help) {
			t.Errorf("%s has not %s, %s: %q", operate, name, kind, help)
		}
	}
	if len(known) < 52 {
		t.Errorf("only %d metrics are served", len(known))
	}
	for _, name := range regexp.MustCompile(`\bfieldferry_\w+`).FindAllString(text, -1) {
		if !known[name] {
			t.Errorf("%s names %s, which is not served", operate, name)
		}
	}
}

func TestTheDocumentHasEveryState(t *testing.T) {
	_, rows := operateDoc(t)
	for _, state := range []live.State{live.OK, live.CatchingUp, live.Attention, live.Outage, live.Losing, live.Starting} {
		want := " 0 "
		if state == live.Attention || state == live.Outage || state == live.Losing {
			want = " 1 "
		}
		if !strings.HasSuffix(rows[string(state)], want) {
			t.Errorf("%s says of %s %q", operate, state, rows[string(state)])
		}
	}
}

// Prometheus takes the job and the rules of the document.
func TestPrometheusTakesTheDocument(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("promtool is missing: scripts/deps test")
		}
		t.Skip(err)
	}
	text, _ := operateDoc(t)
	tried := 0
	for _, m := range regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		args := []string{"check", "rules"}
		switch {
		case strings.HasPrefix(m[1], "scrape_configs:"):
			args = []string{"check", "config", "--syntax-only"}
		case !strings.HasPrefix(m[1], "groups:"):
			continue
		}
		tried++
		file := filepath.Join(t.TempDir(), "prometheus.yml")
		if err := os.WriteFile(file, []byte(m[1]), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(promtool, append(args, file)...).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	if tried != 2 || strings.Count(text, "- alert:") < 5 {
		t.Errorf("%d blocks for Prometheus, %d alerts", tried, strings.Count(text, "- alert:"))
	}
}
