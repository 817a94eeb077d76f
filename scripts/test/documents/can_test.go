package documents

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"fieldferry/scripts/test/rig"
)

// The lines of can.md for logs and for JSON run as they are written, with the
// DBC file of the demo as plant.dbc, and print what the page says.
func TestTheLinesOfTheCANPage(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the daemon")
	}
	rig.Need(t, "jq", "jq")
	page := read(t, root+"/docs/can.md")
	dir := t.TempDir()
	dbc, err := os.ReadFile(root + "/cmd/fieldferry/demo.dbc")
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("plant.dbc", string(dbc))
	put("own.log", "(1700000000.100000) can0 123#DEADBEEF\n(1700000001.200000) can0 0CF00400#0F11FF334455660F\n(1700003601.200000) can1 123#00\n")
	put("own.asc", "date Mon Nov 20 10:00:00.000 am 2023\nbase hex timestamps absolute\n 0.100000 1 123 Rx d 1 DE\n 0.200000 2 123 Rx d 1 AD\n")
	if err := os.Symlink(rig.Fieldferry(t), filepath.Join(dir, "fieldferry")); err != nil {
		t.Fatal(err)
	}
	path := "PATH=" + dir + ":" + os.Getenv("PATH")
	sh := func(line string) string {
		t.Helper()
		cmd := exec.Command("bash", "-c", "set -o pipefail; "+line)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), path)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		return string(out)
	}
	// line is a command of the page that begins like this.
	line := func(begin string) string {
		t.Helper()
		for _, m := range regexp.MustCompile("(?m)`(fieldferry [^`\n]*)`|^(fieldferry .*)$").FindAllStringSubmatch(page, -1) {
			if found := strings.ReplaceAll(m[1]+m[2], `\|`, "|"); strings.HasPrefix(found, begin) && len(found) > len(begin) {
				return found
			}
		}
		t.Fatalf("the page has no command %s", begin)
		return ""
	}

	const speed = "2182.375"
	if got := sh(line("fieldferry can dump 'replay:")); !strings.Contains(got, "(1700000001.200000)") || !strings.Contains(got, "EEC1(EngineSpeed: "+speed) {
		t.Errorf("the log as text is\n%s", got)
	}
	if got := sh(line("fieldferry decode --dbc plant.dbc own.log | jq")); !regexp.MustCompile(`^1700000001\.20*,` + speed + `\n$`).MatchString(got) {
		t.Errorf("the table is %q", got)
	}
	program := regexp.MustCompile("(?s)```python\n(.*?)```").FindStringSubmatch(page)
	if program == nil {
		t.Fatal("the page has no program for a table")
	}
	put("wide.py", program[1])
	sh(line("fieldferry decode --dbc plant.dbc own.log | python3"))
	if got := sh("cat wide.csv"); !strings.HasPrefix(got, "ts,EEC1.") || !strings.Contains(got, "\n1700000001.200000,") || !strings.Contains(got, speed) || strings.Contains(got, "{") {
		t.Errorf("the table of all signals is\n%s", got)
	}
	live := strings.Replace(line("fieldferry can dump can0 --dbc plant.dbc --json | jq"), "can0", "'replay:own.log?speed=max'", 1)
	if got, want := sh(live), `"EngineSpeed":`+speed; !strings.Contains(got, want) {
		t.Errorf("the signals are %q, want %s", got, want)
	}
	if got := sh("fieldferry can dump 'replay:own.log?speed=max&time=log&bus=can1' -L"); got != "(1700003601.200000) can1 123#00\n" {
		t.Errorf("one interface of the log is %q", got)
	}
	if got := sh("TZ=America/New_York fieldferry decode --dbc plant.dbc own.asc"); !strings.Contains(got, `{"ts":1700492400.100000,"bus":"can0"`) || !strings.Contains(got, `"bus":"can1"`) {
		t.Errorf("the frames of the ASC file are\n%s", got)
	}
	t.Run("watch", func(t *testing.T) {
		pub := rig.Need(t, "mosquitto_pub", "mosquitto-clients")
		m := rig.StartMosquitto(t, "log_type all")
		for _, begin := range []string{"fieldferry watch --server mqtt://broker:1883 --json | jq -r", "fieldferry watch --server mqtt://broker:1883 --json | jq -c"} {
			before := strings.Count(m.Said(), "Sending SUBACK")
			text := strings.Replace(line(begin), "mqtt://broker:1883 --json", "mqtt://"+m.Addr()+" --json --count 1", 1)
			p := rig.Start(t, []string{path}, "bash", "-c", "set -o pipefail; "+text)
			p.Until("the subscription", func() bool { return strings.Count(m.Said(), "Sending SUBACK") > before })
			message := fmt.Sprintf(`{"v":1,"gateway":"gw","session":9,"source":"can0","seq":1,"count":1,"records":[{"seq":1,"ts":"2026-11-25T20:30:00.500000000Z","type":"can","id":"0CF00400","ext":true,"name":"EEC1","data":"00","signals":{"EngineSpeed":%s}}]}`, speed)
			if out, err := exec.Command(pub, "-p", fmt.Sprint(m.Port), "-q", "1", "-t", "fieldferry/gw/can0", "-m", message).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if code := p.ExitCode(); code != 0 || !strings.Contains(p.Log.String(), speed) {
				t.Errorf("%s: code %d, it prints\n%s", text, code, p.Log)
			}
		}
	})
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
