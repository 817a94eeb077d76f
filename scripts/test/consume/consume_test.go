package consume

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

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
	envelope(9, 2, lastMessage),
}

// overlapping are losses whose ranges overlap, in either order, and one of a
// number that comes nevertheless, before or behind it: 10 numbers are lost.
var overlapping = []string{
	envelope(21, 1, event(1)),
	envelope(21, 2, loss(2, 5)),
	envelope(21, 2, loss(2, 4)),
	envelope(21, 6, event(6)),
	envelope(21, 6, loss(6, 6)),
	envelope(22, 1, event(1)),
	envelope(22, 2, loss(2, 4)),
	envelope(22, 2, loss(2, 5)),
	envelope(22, 4, loss(4, 8)),
	envelope(22, 8, event(8)),
	envelope(22, 3, loss(3, 7)),
}

// further are messages of which the last is for zstd; the others nobody can read.
func further(t *testing.T) []struct{ topic, payload string } {
	t.Helper()
	return []struct{ topic, payload string }{
		{"fieldferry/gw/gateway/gzip", packed(envelope(7, 13, event(13)))},
		{"fieldferry/gw/gateway", packed(envelope(7, 14, event(14)))}, // as under MQTT 5
		{"fieldferry/gw/gateway/gzip", packed(strings.Repeat(" ", 100<<20))},
		{"fieldferry/gw/gateway/gzip", packed(envelope(7, 15, event(15)))[:60]},
		{"fieldferry/gw/gateway", "nonsense"},
		{"fieldferry/gw/gateway", `{"v":1,"gateway":"gw","session":[],"source":"gateway","records":[{"type":"event"}]}`},
		{"fieldferry/gw/config/part/0a/1", "can:\n  - interface: can0\n"}, // nothing to be read
		{"fieldferry/gw/gateway/zstd", squeezed(t, envelope(7, 15, event(15)))},
		{"fieldferry/gw/gateway", envelope(7, 16, event(16))},
	}
}

// The account of all of that, with and without a library for zstd.
const (
	want        = `{"records":19,"duplicates":4,"lost":13,"unread":4,"missing":1}`
	wantNoZstd  = `{"records":18,"duplicates":4,"lost":13,"unread":5,"missing":2}`
	lastMessage = `{"seq":2,"ts":"2026-11-20T14:00:00.000000000Z","type":"of tomorrow","end":true}`
)

func packed(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write([]byte(text))
	_ = w.Close()
	return b.String()
}

func squeezed(t *testing.T, text string) string {
	t.Helper()
	cmd := exec.Command(rig.Need(t, "zstd", "zstd"), "-q", "-c")
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func envelope(session, seq int, records ...string) string {
	return fmt.Sprintf(`{"v":1,"gateway":"gw","session":%d,"source":"gateway","seq":%d,"count":%d,"records":[%s]}`,
		session, seq, len(records), strings.Join(records, ","))
}

// event is the start of a session, or a later one.
func event(seq int) string {
	code := "records_rejected"
	if seq == 1 {
		code = "started"
	}
	return fmt.Sprintf(`{"seq":%d,"ts":"2026-11-20T14:00:00.000000000Z","type":"event","event":"%s","state":"event"}`, seq, code)
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
	for _, m := range slices.Concat(messages[:len(messages)-1], overlapping) { // the last one is of the future
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

// consumer is one of the programs that keep an account.
type consumer struct {
	name string
	argv []string
	env  []string
	zstd bool
}

func python(t *testing.T) consumer {
	t.Helper()
	needPython(t, "paho.mqtt.client", "python3-paho-mqtt")
	needPython(t, "zstandard", "python3-zstandard")
	return consumer{"Python", []string{"/usr/bin/python3", docs + "consume/consumer.py"}, nil, true}
}

// pythonAlone is one without the library for zstd.
func pythonAlone(t *testing.T) consumer {
	t.Helper()
	c := python(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "zstandard.py"), []byte("raise ImportError('No module named zstandard')\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.env, c.zstd = []string{"PYTHONPATH=" + dir, "PYTHONDONTWRITEBYTECODE=1"}, false
	return c
}

func golang(t *testing.T) consumer {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "consumer")
	if out, err := exec.Command("go", "build", "-o", binary, docs+"consume/consumer.go").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return consumer{"Go", []string{binary}, nil, true}
}

func node(t *testing.T) consumer {
	t.Helper()
	program := need(t, "node", false)
	cmd := exec.Command(program, "-e", "require('mqtt'); console.log(!!require('zlib').zstdDecompressSync)")
	cmd.Env = nodeEnv()
	out, err := cmd.Output()
	if err != nil {
		missing(t, "node-mqtt", false)
	}
	return consumer{"Node", []string{program, docs + "consume/consumer.js"}, nil, strings.TrimSpace(string(out)) == "true"}
}

var consumers = map[string]func(*testing.T) consumer{"Python": python, "Python without zstandard": pythonAlone, "Go": golang, "Node": node}

func (c consumer) start(t *testing.T, port int) *rig.Process {
	t.Helper()
	return rig.Start(t, append(c.env, "NODE_PATH=/usr/share/nodejs"), c.argv[0], append(c.argv[1:], "127.0.0.1", strconv.Itoa(port))...)
}

var accounts = regexp.MustCompile(`^\{.*"missing".*\}`)

// account ends a consumer and returns what it says then.
func account(p *rig.Process) string {
	p.Signal(syscall.SIGTERM)
	return strings.TrimSpace(strings.ReplaceAll(p.Finds(accounts)[0], " ", ""))
}

func TestConsumers(t *testing.T) {
	for name, c := range consumers {
		t.Run(name, func(t *testing.T) {
			c := c(t)
			m := rig.StartMosquitto(t, "log_type all")
			p := c.start(t, m.Port)
			p.Until("the subscription", func() bool { return strings.Contains(m.Said(), "Sending SUBACK") })
			for _, message := range slices.Concat(messages[:len(messages)-1], overlapping) {
				publish(t, m, "fieldferry/gw/gateway", message)
			}
			publish(t, m, "fieldferry/gw/gateway", envelope(9, 3, event(3)))
			for _, f := range further(t) {
				publish(t, m, f.topic, f.payload)
			}
			publish(t, m, "fieldferry/gw/gateway", messages[len(messages)-1])
			p.Says("of tomorrow")
			want := want
			if !c.zstd {
				want = wantNoZstd
			}
			if got := account(p); got != want {
				t.Errorf("its account is\n%s, want\n%s", got, want)
			}
			if n := strings.Count(p.Log.String(), "not read: fieldferry/gw/gateway"); n < 4 {
				t.Errorf("%d messages are named as not read:\n%s", n, p.Log)
			}
		})
	}
}

// nodeEnv: Debian's modules of Node are where only Debian's own Node looks.
func nodeEnv() []string { return append(os.Environ(), "NODE_PATH=/usr/share/nodejs") }
