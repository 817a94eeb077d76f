package gateway

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"fieldferry/gateway/ledger"
	"fieldferry/gateway/statedir"
	"fieldferry/uplink/uplinktest"
)

// testdata/untyped.tar.gz is what a gateway of the version before typed records
// left when it was killed in an outage: frames, readings, events and health
// records, and the list of its raised alarms beside the buffer's files.
// testdata/untyped.txt is what that version's buffer dump printed of it.
func TestBufferOfTheVersionBeforeTypedRecords(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "buffer")
	unpack(t, "testdata/untyped.tar.gz", path)
	broker, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer broker.Close()
	c := &older{cloud: cloud{t: t, changed: make(chan struct{})}, records: map[string]string{}}
	if err := broker.Subscribe("#", c.take); err != nil {
		t.Fatal(err)
	}
	stop := runGateway(t, dir, "mqtt://"+broker.Addr(), "")

	want := older{records: map[string]string{}}
	want.read(t, "testdata/untyped.txt")
	c.until("all that the older version had", func() bool { return len(c.records) >= len(want.records) })
	for key, record := range want.records {
		if got := c.records[key]; got != record {
			t.Errorf("%s\ngot  %s\nwant %s", key, got, record)
		}
	}
	// Its alarms end under their ids: there is a broker, and no source "gone" any more.
	for e, id := range map[string]uint64{"gateway uplink_down cleared": 3542726142328835, "gone can_link_down cleared": 3542726142328834} {
		if got := c.wait(e); got.ID != id {
			t.Errorf("%s under id %d, want %d", e, got.ID, id)
		}
	}
	stop()
	if b, err := statedir.In(path).Read("alarms"); err != nil || !strings.HasPrefix(string(b), "fieldferry-alarms") {
		t.Errorf("the list of alarms: %q, %v", b, err)
	}
}

// older collects the records of the older version's session.
type older struct {
	cloud
	records map[string]string // by source and number, without "late"
}

func (o *older) take(topic string, body []byte) {
	if m, err := ledger.Parse(body); err == nil && m.Session == 844651733 {
		o.cloud.mu.Lock()
		for _, raw := range m.Records {
			o.note(m.Source, string(raw))
		}
		o.cloud.mu.Unlock()
	}
	o.cloud.take(topic, body)
}

func (o *older) note(source, record string) {
	seq, _, _ := strings.Cut(strings.TrimPrefix(record, `{"seq":`), ",")
	o.records[source+" "+seq] = strings.Replace(record, `,"late":true}`, "}", 1)
}

func (o *older) read(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		part := strings.SplitN(lines.Text(), " ", 3)
		o.note(part[1], part[2])
	}
	if sources := slices.Sorted(maps.Keys(o.records)); len(sources) != 273 {
		t.Fatalf("%d records in %s", len(sources), file)
	}
}

func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		var b []byte
		if err == nil {
			b, err = io.ReadAll(r)
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(h.Name)), b, 0o600)
		}
		if err != nil {
			t.Fatal(fmt.Errorf("%s: %w", archive, err))
		}
	}
}
