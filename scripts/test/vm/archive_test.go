package vm

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unpack reads a newc archive back: name -> mode and content.
func unpack(t *testing.T, b []byte) (names []string, modes map[string]int64, contents map[string]string) {
	t.Helper()
	modes, contents = map[string]int64{}, map[string]string{}
	for at := 0; ; {
		if at%4 != 0 {
			t.Fatalf("entry at %d is not aligned", at)
		}
		header := string(b[at : at+110])
		field := func(i int) int64 {
			n, err := strconv.ParseInt(header[6+8*i:14+8*i], 16, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		if header[:6] != "070701" {
			t.Fatalf("entry at %d begins with %q", at, header[:6])
		}
		size, nameSize := int(field(6)), int(field(11))
		name := strings.TrimRight(string(b[at+110:at+110+nameSize]), "\x00")
		start := (at + 110 + nameSize + 3) &^ 3
		if name == "TRAILER!!!" {
			return names, modes, contents
		}
		names = append(names, name)
		modes[name] = field(1)
		contents[name] = string(b[start : start+size])
		at = (start + size + 3) &^ 3
	}
}

func TestArchive(t *testing.T) {
	var b bytes.Buffer
	a := newArchive(&b)
	a.device("dev/console", 0o600, 5, 1)
	a.bytes("/a/b/three", 0o644, []byte("xyz"))
	a.bytes("a/b/empty", 0o755, nil)
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	names, modes, contents := unpack(t, b.Bytes())
	// The kernel unpacks in order: a directory must come before what is in it, and once.
	if want := []string{"dev", "dev/console", "a", "a/b", "a/b/three", "a/b/empty"}; !slices.Equal(names, want) {
		t.Errorf("entries %q, want %q", names, want)
	}
	for name, want := range map[string]int64{"dev/console": modeChar | 0o600, "a/b": modeDir | 0o755, "a/b/empty": modeFile | 0o755} {
		if modes[name] != want {
			t.Errorf("mode of %s is %o, want %o", name, modes[name], want)
		}
	}
	if contents["a/b/three"] != "xyz" || contents["a/b/empty"] != "" {
		t.Errorf("contents %q", contents)
	}
}

func TestArchiveReportsTheFirstError(t *testing.T) {
	a := newArchive(&bytes.Buffer{})
	a.copy("x", "testdata/there-is-no-such-file")
	a.bytes("y", 0o644, []byte("y"))
	if err := a.close(); err == nil || !strings.Contains(err.Error(), "no-such-file") {
		t.Errorf("got %v", err)
	}
}

func TestParseModinfo(t *testing.T) {
	for info, want := range map[string][]string{
		"license=GPL\x00depends=can\x00name=can_raw\x00":  {"can"},
		"depends=can-dev,can\x00":                         {"can-dev", "can"},
		"depends=\x00":                                    nil,
		"softdep=pre: crc32c a post: b\x00depends=c\x00":  {"crc32c", "a", "c"},
		"softdep=post: b\x00":                             nil,
		"description=depends=no\x00alias=can-proto-1\x00": nil,
	} {
		if got := parseModinfo([]byte(info)); !slices.Equal(got, want) {
			t.Errorf("%q: got %q, want %q", info, got, want)
		}
	}
}
