package alarm

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"reflect"
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

// In a log of JSON the detail is an object, whatever it holds, and one that
// is cut a text.
func TestDetailIsAnObjectInJSON(t *testing.T) {
	hostile := "\"}\n{\"level\":\"x\"\x00\xff\u2028<"
	for _, c := range []struct {
		detail map[string]any
		want   map[string]any
	}{
		{map[string]any{"reason": "not_synchronised", "n": 3}, map[string]any{"reason": "not_synchronised", "n": 3.0}},
		{map[string]any{"text": hostile}, map[string]any{"text": strings.ToValidUTF8(hostile, "\ufffd")}},
		{map[string]any{"text": strings.Repeat("\u00e4", 2000)}, nil},
	} {
		var b bytes.Buffer
		l := line{id: 1, key: key{"s", "c", ""}, state: bus.Raised, detail: c.detail}
		l.write(slog.New(slog.NewJSONHandler(&b, nil)))
		var got struct{ Detail any }
		if err := json.Unmarshal(b.Bytes(), &got); err != nil || bytes.Count(b.Bytes(), []byte("\n")) != 1 || b.Len() > 2*maxLogged {
			t.Errorf("%v: %s", err, &b)
		}
		cut, _ := got.Detail.(string)
		if c.want == nil && !strings.HasPrefix(cut, "{\"text\":\"\u00e4\u00e4") || c.want != nil && !reflect.DeepEqual(got.Detail, any(c.want)) {
			t.Errorf("%v", got.Detail)
		}
	}
}
