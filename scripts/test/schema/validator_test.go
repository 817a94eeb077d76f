package schema

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The command of the page has another validator than ours read an envelope, and
// refuse what is none.
func TestTheValidatorOfThePage(t *testing.T) {
	const python = "/usr/bin/python3" // Debian's, which has Debian's modules
	if exec.Command(python, "-c", "import jsonschema").Run() != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("python3-jsonschema is missing: scripts/deps test")
		}
		t.Skip("SKIPPED: python3-jsonschema is missing")
	}
	text, err := os.ReadFile(docs + "payload.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^python3 (-m jsonschema -i )message\.json( .*)$`).FindStringSubmatch(string(text))
	envelope := regexp.MustCompile(`(?m)^{"v":1,.*"records":.*$`).Find(text)
	if command == nil || envelope == nil {
		t.Fatal("the page has no command, or no envelope")
	}
	for message, valid := range map[string]bool{
		string(envelope): true,
		strings.Replace(string(envelope), `"seq":42`, `"seq":"42"`, 1): false, // of a record, which another file describes
	} {
		file := filepath.Join(t.TempDir(), "message.json")
		write(t, file, message)
		cmd := exec.Command("sh", "-c", python+" "+command[1]+file+command[2])
		cmd.Dir = abs(t, filepath.Dir(filepath.Clean(docs)))
		if out, err := cmd.CombinedOutput(); (err == nil) != valid || !valid && !strings.Contains(string(out), "is not of type 'integer'") {
			t.Errorf("%s\nis valid: %v, want %v\n%s", message, err == nil, valid, out)
		}
	}
}
