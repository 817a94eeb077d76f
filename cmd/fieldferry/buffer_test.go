package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus/can"
	"fieldferry/gateway/ledger"
	"fieldferry/gateway/record"
)

// stored makes a buffer of frames and one record that is no record of ours.
func stored(t *testing.T, frames int) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "buffer")
	b, err := buffer.Open(buffer.Config{Dir: dir, SyncInterval: time.Hour, SegmentSize: 64 << 10, Draw: countOn}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := b.Source("engine")
	for i := range frames {
		f := can.Frame{ID: 0x123, Len: 2}
		f.Data[0] = byte(i)
		s.Append(int64(i)*1e9, record.AppendFrame(nil, &f))
	}
	s.Lose(1, 3, buffer.RxOverflow)
	b.Source("odd").Append(1, []byte{0xff, 1})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestBufferVerbs(t *testing.T) {
	dir := stored(t, 100)
	r := fieldferry(t.Context(), nil, "buffer", "dump", dir)
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if r.code != 0 || len(lines) != 102 ||
		!strings.HasPrefix(lines[0], `1 engine {"seq":1,"ts":"1970-01-01T00:00:00.000000000Z","type":"can","id":"123"`) ||
		!strings.Contains(lines[100], `"from":101,"to":103,"count":3,"reason":"rx_overflow"`) || !strings.Contains(lines[101], `"hex":"ff01"`) {
		t.Errorf("dump: code %d, %d lines\n%s%s", r.code, len(lines), r.stdout, r.stderr)
	}
	r = fieldferry(t.Context(), nil, "buffer", "dump", "--json", dir)
	for line := range strings.SplitSeq(strings.TrimSpace(r.stdout), "\n") {
		var v struct {
			Offset, Session uint64
			Source          string
			Record          ledger.Head
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil || v.Session != 1 || v.Source == "" || v.Record.Type == "" {
			t.Fatalf("%v: %s", err, line)
		}
	}
	r = fieldferry(t.Context(), nil, "buffer", "verify", dir)
	if r.code != 0 || !strings.Contains(r.stdout, "102 records, 102 of them pending, 3 accounted for as lost: ok") {
		t.Errorf("verify: code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	r = fieldferry(t.Context(), nil, "buffer", "compact", "--json", dir)
	var c struct {
		Lost   uint64 `json:"lost"`
		Before int64  `json:"bytes_before"`
	}
	if err := json.Unmarshal([]byte(r.stdout), &c); err != nil || r.code != 0 || c.Lost != 0 || c.Before == 0 {
		t.Errorf("compact: code %d, %v\n%s%s", r.code, err, r.stdout, r.stderr)
	}
}

func TestBufferVerbsOnDamage(t *testing.T) {
	dir := stored(t, 100)
	file := filepath.Join(dir, "00000001.db")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[:8192]) // both meta pages: the records can still be found
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"info", "verify", "dump"} {
		for _, path := range []string{dir, file} {
			r := fieldferry(t.Context(), nil, "buffer", verb, path)
			if r.code != 1 || !strings.Contains(r.stderr, "damage: 00000001.db: ") {
				t.Errorf("%s %s: code %d\n%s%s", verb, path, r.code, r.stdout, r.stderr)
			}
			if verb == "dump" && strings.Count(r.stdout, "\n") != 102 {
				t.Errorf("dump: %d records", strings.Count(r.stdout, "\n"))
			}
		}
	}
	r := fieldferry(t.Context(), nil, "buffer", "verify", "--json", dir)
	var v bufferJSON
	if err := json.Unmarshal([]byte(r.stdout), &v); err != nil || r.code != 1 || v.OK || len(v.Damage) != 1 || len(v.Foreign) != 1 {
		t.Errorf("verify --json: code %d, %v\n%s", r.code, err, r.stdout)
	}
	if r := fieldferry(t.Context(), nil, "buffer", "compact", "--remove-damaged", dir); r.code != 0 || !strings.Contains(r.stdout, "removed 00000001.db.bad") {
		t.Errorf("compact: code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
	if r := fieldferry(t.Context(), nil, "buffer", "verify", dir); r.code != 0 {
		t.Errorf("after compact: code %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

// countOn has sessions counted, so that what is printed is always the same.
func countOn(prev uint64) uint64 { return prev + 1 }
