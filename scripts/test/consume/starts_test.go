package consume

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"fieldferry/scripts/test/rig"
)

// follow starts a consumer and waits until the broker has its subscription.
func (c consumer) follow(t *testing.T, m *rig.Mosquitto) *rig.Process {
	t.Helper()
	before := strings.Count(m.Said(), "Sending SUBACK")
	p := c.start(t, m.Port)
	p.Until("the subscription", func() bool { return strings.Count(m.Said(), "Sending SUBACK") > before })
	return p
}

// printed waits for a record.
func printed(p *rig.Process, seq int) {
	p.Finds(regexp.MustCompile(fmt.Sprintf(`"seq": ?%d,`, seq)))
}

// A consumer that begins in the middle of a session does not count as missing
// what was before it, neither at first nor after it was away; a hole it does.
func TestConsumersThatStartInTheMiddleOfASession(t *testing.T) {
	for name, c := range consumers {
		t.Run(name, func(t *testing.T) {
			c := c(t)
			m := rig.StartMosquitto(t, "log_type all")
			p := c.follow(t, m)
			publish(t, m, "fieldferry/gw/gateway", envelope(7, 1700, event(1700), event(1701)))
			publish(t, m, "fieldferry/gw/gateway", envelope(7, 1703, event(1703)))
			printed(p, 1703)
			if got, want := account(p), `{"records":3,"duplicates":0,"lost":0,"unread":0,"missing":1}`; got != want {
				t.Errorf("its account is\n%s, want\n%s", got, want)
			}
			publish(t, m, "fieldferry/gw/gateway", envelope(7, 1704, event(1704)))
			publish(t, m, "fieldferry/gw/gateway", envelope(7, 1705, event(1705)))
			p = c.start(t, m.Port)
			printed(p, 1705)
			if got, want := account(p), `{"records":2,"duplicates":0,"lost":0,"unread":0,"missing":0}`; got != want {
				t.Errorf("after its absence its account is\n%s, want\n%s", got, want)
			}
		})
	}
}

// A consumer that comes up before its broker says so and waits.
func TestConsumersThatStartBeforeTheBroker(t *testing.T) {
	for name, c := range consumers {
		t.Run(name, func(t *testing.T) {
			c := c(t)
			m := rig.StartMosquitto(t, "log_type all")
			m.Kill()
			p := c.start(t, m.Port)
			p.Finds(regexp.MustCompile(`does not answer|refused|ECONNREFUSED`))
			if err := m.Start(); err != nil {
				t.Fatal(err)
			}
			p.Until("the subscription", func() bool { return strings.Contains(m.Said(), "Sending SUBACK") })
			publish(t, m, "fieldferry/gw/gateway", envelope(7, 1, event(1)))
			p.Says(`"started"`)
			account(p)
		})
	}
}

// publisher is a program that sends n messages of a session.
func publisher(t *testing.T, m *rig.Mosquitto, n int) *exec.Cmd {
	t.Helper()
	var lines strings.Builder
	for i := range n {
		lines.WriteString(envelope(7, i+1, event(i+1)) + "\n")
	}
	cmd := exec.Command(rig.Need(t, "mosquitto_pub", "mosquitto-clients"), "-p", strconv.Itoa(m.Port), "-q", "1", "-t", "fieldferry/gw/gateway", "-l")
	cmd.Stdin = strings.NewReader(lines.String())
	return cmd
}

// A consumer that is stopped while messages come ends between two of them: its
// account is the last line, and of as many records as it has printed.
func TestConsumersThatAreStoppedAtWork(t *testing.T) {
	for name, c := range consumers {
		t.Run(name, func(t *testing.T) {
			c := c(t)
			m := rig.StartMosquitto(t, "log_type all", "max_queued_messages 0")
			account(c.follow(t, m))
			for range 5 {
				if out, err := publisher(t, m, 400).CombinedOutput(); err != nil {
					t.Fatalf("mosquitto_pub: %v\n%s", err, out)
				}
				p, n := c.start(t, m.Port), rand.IntN(200)
				p.Until("records", func() bool { return strings.Count(p.Log.String(), "\n") > n })
				p.Stop()
				lines := regexp.MustCompile(`(?m)^\{.*`).FindAllString(p.Log.String(), -1)
				said := struct{ Records int }{-1}
				for i, line := range lines {
					if err := json.Unmarshal([]byte(line), &said); err != nil || (said.Records >= 0) != (i == len(lines)-1) {
						t.Fatalf("%v: line %d of %d is %s", err, i+1, len(lines), line)
					}
				}
				if said.Records != len(lines)-1 {
					t.Errorf("it has printed %d records, and its account is %s", len(lines)-1, lines[len(lines)-1])
				}
			}
		})
	}
}

// The settings of mosquitto in the document keep a long absence of a consumer,
// also while the broker is restarted.
func TestTheBrokerKeepsAnAbsence(t *testing.T) {
	text, err := os.ReadFile(docs + "consume/README.md")
	if err != nil {
		t.Fatal(err)
	}
	settings := regexp.MustCompile("(?s)```conf\n(persistence true\n.*?)```").FindSubmatch(text)
	if settings == nil {
		t.Fatal("the document has no settings of mosquitto")
	}
	c := python(t)
	m := rig.StartMosquitto(t, "log_type all", string(settings[1]), "persistence_location "+t.TempDir()+"/")
	account(c.follow(t, m))

	const n = 1500 // more than mosquitto keeps by itself
	if out, err := publisher(t, m, n).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
	m.Stop()
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	p := c.start(t, m.Port)
	printed(p, n)
	if got, want := account(p), fmt.Sprintf(`{"records":%d,"duplicates":0,"lost":0,"unread":0,"missing":0}`, n); got != want {
		t.Errorf("its account is\n%s, want\n%s", got, want)
	}
}

// Messages as a real gateway compresses them are read, under both versions of
// MQTT: the topic of one names the compression, that of the other does not.
func TestAGatewayThatCompresses(t *testing.T) {
	for _, compress := range []string{"gzip", "zstd"} {
		for _, protocol := range []string{"3.1.1", "5"} {
			t.Run(compress+" "+protocol, func(t *testing.T) {
				c := python(t)
				m := rig.StartMosquitto(t, "log_type all")
				p := c.follow(t, m)
				dir := t.TempDir()
				config := filepath.Join(dir, "fieldferry.yaml")
				text := fmt.Sprintf("gateway: {id: gw, clock: trusted}\ncan: [{interface: sim:engine, name: engine}]\nbuffer: {path: %s/buffer}\n"+
					"uplink: {servers: [\"mqtt://%s\"], compress: %s, protocol: %q}\n", dir, m.Addr(), compress, protocol)
				if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
				daemon := rig.StartDaemon(t, nil, config)
				sub := rig.Need(t, "mosquitto_sub", "mosquitto-clients")
				sent, err := exec.Command(sub, "-p", strconv.Itoa(m.Port), "-t", "fieldferry/gw/engine/#", "-C", "1", "-W", "30", "-F", "%t %x").Output()
				topic, magic := "fieldferry/gw/engine", map[string]string{"gzip": "1f8b", "zstd": "28b52ffd"}[compress]
				if protocol == "3.1.1" {
					topic += "/" + compress
				}
				if err != nil || !strings.HasPrefix(string(sent), topic+" "+magic) {
					t.Fatalf("%v: the gateway sends %.60s, want %s %s", err, sent, topic, magic)
				}
				printed(p, 200)
				daemon.Stop()
				if got := account(p); !strings.Contains(got, `"lost":0,"unread":0,"missing":0`) {
					t.Errorf("its account is %s", got)
				}
			})
		}
	}
}
