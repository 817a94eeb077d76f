package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus/can"
	"fieldferry/gateway/record"
)

// chain makes a buffer of several segments in dir.
func chain(t *testing.T, dir string) *buffer.Buffer {
	t.Helper()
	b, err := buffer.Open(buffer.Config{Dir: dir, SyncInterval: time.Hour, SegmentSize: 64 << 10, Draw: countOn}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func addFrames(b *buffer.Buffer, n int) {
	s := b.Source("engine")
	for i := range n {
		f := can.Frame{ID: 0x123, Len: 8}
		for k := range f.Data {
			f.Data[k] = byte(i * (i + 31*k + 7) >> 3) // compresses badly
		}
		s.Append(int64(i+1)*1e9, record.AppendFrame(nil, &f))
	}
	s.Lose(int64(n)*1e9, 3, buffer.RxOverflow)
}

// Each verb on each kind of directory and file, as a person and as a program
// sees it: output, messages, exit code.
func TestBufferVerbsGolden(t *testing.T) {
	master := filepath.Join(t.TempDir(), "buffer")
	b := chain(t, master)
	addFrames(b, 20_000)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for name, setup := range map[string]func(t *testing.T, dir string) (path string){
		"healthy":  func(t *testing.T, dir string) string { return dir },
		"one-file": func(t *testing.T, dir string) string { return filepath.Join(dir, "00000001.db") },
		"damaged": func(t *testing.T, dir string) string {
			overwrite(t, filepath.Join(dir, "00000001.db"), 0, make([]byte, 8192)) // both meta pages
			writeText(t, filepath.Join(dir, "notes.txt"), "not ours")
			return dir
		},
		"missing-segment": func(t *testing.T, dir string) string {
			remove(t, filepath.Join(dir, "00000002.db"))
			return dir
		},
		"state-gone-bad": func(t *testing.T, dir string) string {
			overwrite(t, filepath.Join(dir, "state"), 0, []byte(strings.Repeat("?", 128<<10)))
			return dir
		},
		"text-file": func(t *testing.T, dir string) string {
			path := filepath.Join(dir, "..", "hello.txt")
			writeText(t, path, "hello\n")
			return path
		},
		"empty-directory": func(t *testing.T, dir string) string { return t.TempDir() },
		"foreign-directory": func(t *testing.T, dir string) string {
			d := t.TempDir()
			writeText(t, filepath.Join(d, "a.txt"), "x")
			return d
		},
		"nothing-there": func(t *testing.T, dir string) string { return filepath.Join(t.TempDir(), "nothing") },
		"in-use": func(t *testing.T, dir string) string {
			b := chain(t, dir)
			t.Cleanup(func() { _ = b.Close() })
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			for _, verb := range []string{"info", "verify", "dump", "compact"} {
				for _, flags := range [][]string{nil, {"--json"}} {
					dir := filepath.Join(t.TempDir(), "buffer")
					if err := os.CopyFS(dir, os.DirFS(master)); err != nil {
						t.Fatal(err)
					}
					path := setup(t, dir)
					args := append(append([]string{"buffer", verb}, flags...), path)
					r := fieldferry(t.Context(), nil, args...)
					fmt.Fprintf(&text, "$ fieldferry %s\n%s%sexit code %d\n\n", strings.Join(args, " "), short(r.stdout), indent(r.stderr), r.code)
					out := scrub(text.String(), path, dir)
					text.Reset()
					text.WriteString(out)
				}
			}
			golden(t, "buffer-"+name, text.String())
		})
	}
}

// short leaves out what is in the middle of much.
func short(s string) string {
	lines := strings.SplitAfter(s, "\n")
	if len(lines) <= 60 {
		return s
	}
	return strings.Join(lines[:3], "") + fmt.Sprintf("... %d lines ...\n", len(lines)-6) + strings.Join(lines[len(lines)-3:], "")
}

func indent(stderr string) string {
	if stderr == "" {
		return ""
	}
	return "  2> " + strings.ReplaceAll(strings.TrimSuffix(stderr, "\n"), "\n", "\n  2> ") + "\n"
}

var (
	stamps = regexp.MustCompile(`time=\S+`)
	sizes  = regexp.MustCompile(`[0-9.]+ [KM]iB|("bytes[a-z_]*": )[0-9]+`) // which the file system has a say in
	gaps   = regexp.MustCompile(`  +`)
)

// scrub takes out what differs from run to run.
func scrub(s string, paths ...string) string {
	for _, p := range paths {
		s = strings.ReplaceAll(s, filepath.Clean(p), "PATH/"+filepath.Base(p))
	}
	s = strings.ReplaceAll(s, fmt.Sprintf("process %d", os.Getpid()), "process PID")
	s = strings.ReplaceAll(s, fmt.Sprintf(`"pid": %d`, os.Getpid()), `"pid": PID`)
	s = stamps.ReplaceAllString(s, "time=TIME")
	return gaps.ReplaceAllString(sizes.ReplaceAllString(s, "${1}SIZE"), "  ")
}

func writeText(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path string, at int64, b []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt(b, at)
	}
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}
