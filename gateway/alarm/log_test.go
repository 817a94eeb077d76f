package alarm

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"fieldferry/bus"
)

func TestLinesHaveTheirSeverity(t *testing.T) {
	for _, c := range []struct {
		severity Severity
		state    bus.State
		want     string
	}{
		{Info, bus.Raised, "level=INFO "}, {Warning, bus.Raised, "level=WARN "}, {Error, bus.Raised, "level=ERROR "},
		{Critical, bus.Raised, "level=ERROR+4 "}, {Critical, bus.Cleared, "level=INFO "},
	} {
		var b bytes.Buffer
		l := line{id: 1, key: key{"s", "c", ""}, state: c.state, severity: c.severity, detail: map[string]any{"reason": "r"}}
		l.write(slog.New(slog.NewTextHandler(&b, nil)))
		if s := b.String(); !strings.Contains(s, c.want) || !strings.Contains(s, `detail="{\"reason\":\"r\"}"`) || strings.Contains(s, "subject") {
			t.Errorf("%v %v: %s", c.severity, c.state, s)
		}
	}
}
