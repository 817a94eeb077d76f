package mqtt

import (
	"os"
	"strings"
	"testing"
)

// docs/broker.md has each reason with what it means.
func TestTheDocumentHasEveryReason(t *testing.T) {
	text, err := os.ReadFile("../../docs/broker.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range reasons {
		if row := "| `" + r.word + "` | " + r.text + " | " + r.hint; !strings.Contains(string(text), row) {
			t.Errorf("docs/broker.md has no row %q", row)
		}
	}
}
