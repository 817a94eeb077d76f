package buffer

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"testing"
)

func TestExposedDirectoryIsNamed(t *testing.T) {
	for _, c := range []struct {
		mode  os.FileMode
		owner int
		want  string
	}{
		{0o700, -1, ""},
		{0o755, -1, ""},
		{0o777, -1, "everybody may write to"},
		{0o1777, -1, "everybody may write to"},
		{0o700, 65534, "belongs to user 65534"},
	} {
		if c.owner >= 0 && os.Geteuid() != 0 {
			continue // giving it away needs root
		}
		cfg := testConfig(t)
		if err := os.Chmod(cfg.Dir, c.mode); err != nil {
			t.Fatal(err)
		}
		if c.owner >= 0 {
			if err := os.Chown(cfg.Dir, c.owner, -1); err != nil {
				t.Fatal(err)
			}
		}
		var text bytes.Buffer
		b, err := Open(cfg, slog.New(slog.NewTextHandler(&text, nil)))
		if err != nil {
			t.Fatal(err)
		}
		mustClose(t, b)
		if got := text.String(); c.want == "" && strings.Contains(got, "level=WARN") || !strings.Contains(got, c.want) {
			t.Errorf("mode %o, owner %d: %s", c.mode, c.owner, got)
		}
		if err := os.Chmod(cfg.Dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}
