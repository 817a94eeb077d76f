package main

import (
	"strings"
	"testing"

	"fieldferry/gateway/live"
)

// What became of the last configuration from afar stands in the state as the daemon
// says it, with what runs.
func TestStatusOfTheOneFromAfar(t *testing.T) {
	s := &live.Snapshot{}
	for _, note := range []string{"", "version 9: rejected (signature); what runs has stayed, by mqtt:ops, version 5"} {
		s.Config.Afar, s.Config.AfarNote = "rejected", note
		var b strings.Builder
		writeStatus(&b, s, false)
		line := ""
		for l := range strings.Lines(b.String()) {
			if strings.HasPrefix(l, "Afar ") {
				line = strings.TrimSpace(strings.TrimPrefix(l, "Afar "))
			}
		}
		if line != note {
			t.Errorf("%q, want %q", line, note)
		}
	}
}
