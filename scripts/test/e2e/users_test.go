package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/scripts/test/rig"
)

// protect lets only users in, each with the password secret, by the rules of
// commands.
func (m *mosquitto) protect(t testing.TB, users ...string) {
	t.Helper()
	m.Kill()
	passwords, acl := filepath.Join(m.dir, "passwords"), filepath.Join(m.dir, "acl")
	var lines bytes.Buffer
	for _, u := range users {
		fmt.Fprintf(&lines, "%s:secret\n", u)
	}
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous false\nuser root\npassword_file %s\nacl_file %s\nlog_type all\n%s\n%s\n", m.Port, passwords, acl,
		rig.Unbounded, rig.Persistent(m.dir))
	for path, text := range map[string]string{passwords: lines.String(), acl: rules, filepath.Join(m.dir, "mosquitto.conf"): conf} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(rig.Need(t, "mosquitto_passwd", "mosquitto"), "-U", passwords).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
	}
	m.restart(t)
}

// follow is mosquitto_sub as a user, which is subscribed when follow returns; the
// broker keeps what comes while the connection is lost.
func (m *mosquitto) follow(t testing.TB, user string, topics ...string) *subscriber {
	t.Helper()
	id := "follow-" + user
	args := []string{"-u", user, "-P", "secret", "-i", id, "-c"}
	for _, topic := range topics {
		args = append(args, "-t", topic)
	}
	s := m.listen(t, args...)
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(m.Said(), "Sending SUBACK to "+id); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("mosquitto_sub does not subscribe:\n%s", m.Said())
		}
	}
	return s
}

// publishAs publishes one message as a user.
func (m *mosquitto) publishAs(t testing.TB, user, topic, payload string) {
	t.Helper()
	out, err := exec.Command(rig.Need(t, "mosquitto_pub", "mosquitto-clients"), "-h", "127.0.0.1", "-p", fmt.Sprint(m.Port),
		"-u", user, "-P", "secret", "-q", "1", "-t", topic, "-m", payload).CombinedOutput()
	if err != nil {
		t.Fatalf("mosquitto_pub: %v\n%s", err, out)
	}
}
