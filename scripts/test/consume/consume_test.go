package consume

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
	"fieldferry/scripts/test/schema"
)

const docs = "../../../docs/"

// What the gateway might send: a repeated message, a backlog behind live
// records, a hole (4), a loss (8 to 10) that comes twice, another session.
var messages = []string{
	envelope(7, 1, event(1), event(2), event(3)),
	envelope(7, 1, event(1), event(2), event(3)),
	envelope(7, 5, event(5)),
	envelope(7, 8, loss(8, 10), event(11)),
	envelope(7, 8, loss(8, 10), event(11), event(12)),
	envelope(7, 6, late(6), late(7)),
	envelope(9, 1, event(1)),
	envelope(9, 2, `{"seq":2,"ts":"2026-11-20T14:00:00.000000000Z","type":"of tomorrow","end":true}`),
}

const want = `{"records":11,"duplicates":4,"lost":3,"missing":1}`

func envelope(session, seq int, records ...string) string {
	return fmt.Sprintf(`{"v":1,"gateway":"gw","session":%d,"source":"gateway","seq":%d,"count":%d,"records":[%s]}`,
		session, seq, len(records), strings.Join(records, ","))
}

func event(seq int) string {
	return fmt.Sprintf(`{"seq":%d,"ts":"2026-11-20T14:00:00.000000000Z","type":"event","event":"started","state":"event"}`, seq)
}

func late(seq int) string { return strings.TrimSuffix(event(seq), "}") + `,"late":true}` }

func loss(from, to int) string {
	return fmt.Sprintf(`{"ts":"2026-11-20T14:00:00.000000000Z","type":"loss","from":%d,"to":%d,"count":%d,"reason":"evicted"}`, from, to, to-from+1)
}

func TestMessagesAreOfTheSchema(t *testing.T) {
	s, err := schema.Open(docs + "schema")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range messages[:len(messages)-1] { // the last one is of the future
		if err := s.Check("envelope.json", []byte(m)); err != nil {
			t.Errorf("%v\n%s", err, m)
		}
	}
}

// need ends the test when a program is missing that scripts/deps installs, and
// skips it aloud for others.
func need(t *testing.T, program string, installed bool) string {
	t.Helper()
	for _, name := range []string{program, "/usr/sbin/" + program} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	missing(t, program, installed)
	return ""
}

func missing(t *testing.T, what string, installed bool) {
	t.Helper()
	if installed && os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: scripts/deps test", what)
	}
	t.Skipf("SKIPPED: %s is missing", what)
}

func start(_ context.Context, t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
}

func TestConsumers(t *testing.T) {
	for _, c := range []struct {
		name    string
		command func(t *testing.T) []string
	}{
		{"Python", func(t *testing.T) []string {
			if exec.Command("/usr/bin/python3", "-c", "import paho.mqtt.client").Run() != nil {
				missing(t, "python3-paho-mqtt", true)
			}
			return []string{"/usr/bin/python3", docs + "consume/consumer.py"}
		}},
		{"Go", func(t *testing.T) []string {
			binary := filepath.Join(t.TempDir(), "consumer")
			if out, err := exec.Command("go", "build", "-o", binary, docs+"consume/consumer.go").CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			return []string{binary}
		}},
		{"Node", func(t *testing.T) []string {
			node := need(t, "node", false)
			cmd := exec.Command(node, "-e", "require('mqtt')")
			cmd.Env = nodeEnv()
			if cmd.Run() != nil {
				missing(t, "node-mqtt", false)
			}
			return []string{node, docs + "consume/consumer.js"}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			argv := c.command(t)
			port := strconv.Itoa(rig.StartMosquitto(t).Port)
			if got := consume(ctx, t, argv, port); got != want {
				t.Errorf("its account is\n%s, want\n%s", got, want)
			}
		})
	}
}

// Debian's modules of Node are where only Debian's own Node looks.
func nodeEnv() []string { return append(os.Environ(), "NODE_PATH=/usr/share/nodejs") }

// consume runs a consumer while the messages are published, and returns what it
// says at its end.
func consume(ctx context.Context, t *testing.T, argv []string, port string) string {
	t.Helper()
	publish := func(payload string) {
		t.Helper()
		out, err := exec.CommandContext(ctx, need(t, "mosquitto_pub", true), "-p", port, "-q", "1", "-t", "fieldferry/gw/gateway", "-m", payload).CombinedOutput()
		if err != nil {
			t.Fatalf("mosquitto_pub: %v\n%s", err, out)
		}
	}
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], "127.0.0.1", port)...)
	cmd.Env = nodeEnv()
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	start(ctx, t, cmd)
	lines := bufio.NewScanner(pipe)
	// Until it has subscribed, it does not see these; a retained one it does.
	out, err := exec.CommandContext(ctx, need(t, "mosquitto_pub", true), "-p", port, "-r", "-q", "1", "-t", "fieldferry/gw/gateway",
		"-m", envelope(9, 3, event(3))).CombinedOutput()
	if err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
	for begun := false; lines.Scan(); {
		if !begun {
			begun = true
			for _, m := range messages {
				publish(m)
			}
		}
		var r struct{ End bool }
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("%v: %s", err, lines.Text())
		}
		if r.End {
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if !lines.Scan() {
				t.Fatal("it ended without an account")
			}
			return strings.ReplaceAll(lines.Text(), " ", "")
		}
	}
	t.Fatal("it ended early")
	return ""
}
