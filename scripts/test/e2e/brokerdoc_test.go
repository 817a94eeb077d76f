package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"fieldferry/scripts/test/rig"
)

// somebody has a certificate of the broker of docs/broker.md.
type somebody struct {
	t    *testing.T
	dir  string
	port int
	name string
}

// run is mosquitto_pub or mosquitto_sub with the certificate, under MQTT 5, where
// a broker says what it does not take.
func (s somebody) run(program string, args ...string) string {
	s.t.Helper()
	args = append([]string{"-V", "5", "-h", "127.0.0.1", "-p", fmt.Sprint(s.port), "-i", "as-" + s.name, "-q", "1", "--insecure",
		"--cafile", s.file("ca.pem"), "--cert", s.file(s.name + ".pem"), "--key", s.file(s.name + ".key")}, args...)
	out, _ := exec.Command(rig.Need(s.t, program, "mosquitto-clients"), args...).CombinedOutput() // what it says is judged
	return string(out)
}

func (s somebody) file(name string) string { return filepath.Join(s.dir, name) }

// may reports whether the broker takes a message.
func (s somebody) may(topic string) bool {
	s.t.Helper()
	return !strings.Contains(s.run("mosquitto_pub", "-t", topic, "-m", "{}"), "Not authorized")
}

// Whoever copies the broker of docs/broker.md gets one that knows each client by
// its certificate, lets a gateway without a user name deliver and be configured,
// and lets none write what is another's, or its own configuration.
func TestTheBrokerOfTheDocument(t *testing.T) {
	t.Parallel()
	broker := brokerOfTheDocument(t)
	dir := broker.dir
	put(t, filepath.Join(dir, "fieldferry.yaml"), fmt.Sprintf(`gateway: {id: gw-01, clock: trusted}
can: [{interface: "sim:ramp?rate=100", name: bus}]
buffer: {path: buffer}
remote_config: {mode: apply}
uplink:
  servers: ["mqtts://127.0.0.1:%d"]
  compress: zstd
  tls: {ca: ca.pem, cert: gw-01.pem, key: gw-01.key, server_name: broker.example}
`, broker.Port))
	as := func(name string) somebody { return somebody{t, dir, broker.Port, name} }
	daemon := startDaemon(t, filepath.Join(dir, "fieldferry.yaml"), "--config-store", filepath.Join(dir, "store"))
	said := func(who, topic string) string {
		return as(who).run("mosquitto_sub", "-t", topic, "-C", "1", "-W", "30", "-F", "%t %p")
	}
	for _, topic := range []string{"fieldferry/gw-01/bus/zstd", "fieldferry/gw-01/status", "fieldferry/gw-01/meta"} {
		if got := said("consumer", topic); !strings.HasPrefix(got, topic+" ") {
			t.Fatalf("nothing at %s: %q\n%s", topic, got, broker.Said())
		}
	}
	if got := said("fleet", "fieldferry/gw-01/config/reported"); !strings.Contains(got, `"state":"none"`) {
		t.Errorf("reported: %q", got)
	}
	for topic, may := range map[string]map[string]bool{
		"fieldferry/gw-01/config/desired":    {"gw-01": false, "consumer": false, "fleet": true},
		"fieldferry/gw-01/config/part/x/0":   {"gw-01": false, "fleet": true},
		"fieldferry/gw-01/config/reported":   {"gw-01": true, "fleet": false},
		"fieldferry/gw-01/cmd/alice/resp":    {"gw-01": true, "consumer": false},
		"fieldferry/gw-01/cmd/alice/req":     {"gw-01": false},
		"fieldferry/gw-01/meta/bus/2":        {"gw-01": true},
		"fieldferry/gw-02/bus":               {"gw-01": false, "fleet": false},
		"fieldferry/gw-02/config/reported":   {"gw-01": false},
		"fieldferry/gw-01/status":            {"consumer": false},
		"fieldferry/gw-01/bus/gzip":          {"gw-01": true},
		"fieldferry/gw-01/anything/at/depth": {"gw-01": false},
	} {
		for who, want := range may {
			if got := as(who).may(topic); got != want {
				t.Errorf("%s may write %s: %v", who, topic, got)
			}
		}
	}
	// The gateway hears what only the fleet may say.
	as("fleet").run("mosquitto_pub", "-r", "-t", "fieldferry/gw-01/config/desired", "-m", `{"v":1,"version":1,"sha256":"00","content":"x"}`)
	daemon.Until("the document is rejected", func() bool {
		return strings.Contains(said("fleet", "fieldferry/gw-01/config/reported"), `"state":"rejected"`)
	})
}
