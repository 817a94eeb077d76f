package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// inEtc runs a line of a shell, in which fieldferry is the program, as root of a
// machine whose /etc is a directory.
func inEtc(t *testing.T, etc, line string) result {
	t.Helper()
	needsChildren(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	flags := "-m"
	if os.Geteuid() != 0 {
		flags = "-rm"
	}
	if out, err := exec.Command("unshare", flags, "mount", "--bind", etc, "/etc").CombinedOutput(); err != nil {
		t.Skipf("no mount namespace: %v, %s", err, out)
	}
	cmd := exec.Command("unshare", flags, "sh", "-c", `mount --bind "$0" /etc && alias fieldferry="$1" && eval "$2"`, etc, exe, line)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// The line of docs/install.md for Ansible judges a file as if it lay in
// /etc/fieldferry already, with the environment and the rights of the service.
func TestTheLineForAnsible(t *testing.T) {
	text, err := os.ReadFile("../../docs/install.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("`validate: ([^`]*%s[^`]*)`").FindSubmatch(text)
	if found == nil {
		t.Fatal("docs/install.md has no validate: of a template")
	}
	dir := t.TempDir()
	etc := filepath.Join(dir, "etc")
	put := func(name, text string, mode os.FileMode) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	put("etc/passwd", "root:x:0:0::/root:/bin/sh\nfieldferry:x:990:990::/:/bin/false\n", 0o644)
	put("etc/group", "root:x:0:\nfieldferry:x:990:\n", 0o644)
	put("etc/default/fieldferry", "MQTT_PASSWORD=secret\n", 0o600)
	put("etc/fieldferry/readable", "secret\n", 0o644)
	put("etc/fieldferry/closed", "secret\n", 0o600)
	candidate := filepath.Join(dir, ".ansible", "tmp", "src")
	line := strings.ReplaceAll(string(found[1]), "%s", candidate)
	for name, c := range map[string]struct {
		password string
		code     int
		say      []string
	}{
		"variable":          {"password: \"${MQTT_PASSWORD}\"", 0, nil},
		"no variable":       {"password: \"${NO_SUCH}\"", 2, []string{"NO_SUCH is not set"}},
		"file":              {"password_file: readable", 0, []string{"warning: everybody on this machine can read the file"}},
		"closed":            {"password_file: closed", 2, []string{"the user fieldferry may not read /etc/fieldferry/closed"}},
		"closed, and a gap": {"password_file: closed, proxy: \"${NO_SUCH}\"", 2, []string{"NO_SUCH is not set", "may not read /etc/fieldferry/closed"}},
	} {
		put(".ansible/tmp/src", "gateway: {id: g}\ncan: [{interface: \"sim:engine\"}]\nbuffer: {path: /var/lib/fieldferry}\nuplink: {servers: [\"mqtts://127.0.0.1:1\"], username: u, "+c.password+"}\n", 0o600)
		for _, more := range []string{"", " --as-user fieldferry"} {
			r := inEtc(t, etc, line+more)
			if r.code != c.code || c.code == 0 && strings.Count(r.stderr, "\n") != len(c.say) || strings.Contains(r.stderr, "does not see") {
				t.Errorf("%s: %s%s: %+v", name, line, more, r)
			}
			for _, say := range c.say {
				if !strings.Contains(r.stderr, say) {
					t.Errorf("%s: %s%s does not say %q: %+v", name, line, more, say, r)
				}
			}
		}
	}
}
