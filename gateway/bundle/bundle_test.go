package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func unpack(t *testing.T, b []byte) map[string]string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(h.Name, "fieldferry-bundle/")] = string(text)
	}
}

// Each part is there, whatever the others do.
func TestPartsFailAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		release := make(chan struct{})
		err := Write(t.Context(), &out, []Part{
			Text("first.txt", []byte("one")),
			{"fails", func(_ context.Context, w io.Writer) error {
				fmt.Fprint(w, "half")
				return errors.New("no such thing")
			}},
			{"hangs", func(_ context.Context, w io.Writer) error {
				fmt.Fprint(w, "begun")
				<-release
				fmt.Fprint(w, "late")
				return nil
			}},
			{"panics", func(context.Context, io.Writer) error { panic("oh") }},
			{"huge", func(_ context.Context, w io.Writer) error {
				for {
					if _, err := w.Write(make([]byte, 100_000)); err != nil {
						return err
					}
				}
			}},
			Text("last.txt", []byte("two")),
		}, Options{Now: time.Now()})
		close(release)
		synctest.Wait()
		files := unpack(t, out.Bytes())
		if files["first.txt"] != "one" || files["last.txt"] != "two" || files["fails"] != "half" || files["hangs"] != "begun" || len(files["huge"]) != PartSize {
			t.Errorf("%.300v", files)
		}
		for _, want := range []string{"first.txt\n", "fails  FAILED: no such thing", "hangs  FAILED: it took longer", "panics  FAILED: it panicked: oh", "huge  FAILED: it is larger"} {
			if !strings.Contains(files["MANIFEST"], want) {
				t.Errorf("%q is not in\n%s", want, files["MANIFEST"])
			}
		}
		if err == nil || strings.Count(err.Error(), "\n") != 3 {
			t.Errorf("error %v", err)
		}
	})
}

func TestSecretsAndMasks(t *testing.T) {
	var out bytes.Buffer
	text := "password CANARY-1 at mqtt://u:CANARY-2@10.1.2.3:1883 and 10.1.2.3, 127.0.0.1, fe80::1:2, gw-plant-7 at 12:34:56"
	err := Write(t.Context(), &out, []Part{Text("a", []byte(text)), {"b", func(context.Context, io.Writer) error { return errors.New("CANARY-1 is wrong") }}},
		Options{Secrets: []string{"CANARY-1"}, Mask: map[string]string{"gw-plant-7": "gateway"}, Now: time.Now()})
	if err == nil {
		t.Error("no error")
	}
	files := unpack(t, out.Bytes())
	want := "password ******** at mqtt://********@address-1:1883 and address-1, 127.0.0.1, address-2, gateway at 12:34:56"
	if files["a"] != want {
		t.Errorf("%s\nwant\n%s", files["a"], want)
	}
	if strings.Contains(fmt.Sprint(files), "CANARY") {
		t.Errorf("%v", files)
	}
}

// Host names are masked wherever they stand, the same by the same, also those that
// only one of the parts tells of.
func TestHostsAreMasked(t *testing.T) {
	parts := []Part{
		Text("journal.txt", []byte(`plant-pc daemon[7]: lookup PLC.secret.example: no such host
dial mqtt://broker:1883 (broker), tcp://plc1:502 plc1 plc1, not plc1x, plc10, x_plc1 or the mqtt of mqtt://mqtt:1883.
lookup of nothing on the wire; x509: certificate is valid for a.secret.example, b.example, not c.example
proxy http://u:p@proxy.secret.example:3128 and sub.w.example, at 10.1.2.3
`)),
		Text("status.jsonl", []byte(`{"peer":{"subject":"CN=a.secret.example,O=Secret Works","issuer":"CN=Secret CA","names":["a.secret.example","*.w.example","10.9.8.7","localhost"]}}`)),
		Text("config.yaml", []byte("tls: {server_name: tls.example}\nweb:\n  hosts: [page.example, other.example]\nport: \"tcp://plc.secret.example:502\"\n")),
		{"fails", func(context.Context, io.Writer) error { return errors.New("c.example does not answer") }},
	}
	var out bytes.Buffer
	_ = Write(t.Context(), &out, parts, Options{Mask: map[string]string{"plc1": "gateway"}, Hosts: []string{"plant-pc", "", "127.0.0.1"}, Now: time.Now()})
	files := unpack(t, out.Bytes())
	all := fmt.Sprint(files)
	if i := strings.Index(all, ".example"); i >= 0 || strings.Contains(all, "Secret") || strings.Contains(all, "plant-pc") || strings.Contains(all, "10.9.8.7") {
		t.Errorf("at %d of %s", i, all)
	}
	lines := strings.Split(files["journal.txt"], "\n")
	of := func(s, before string) string { // the word behind
		_, s, _ = strings.Cut(s, before)
		return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" :/,\"", r) })[0]
	}
	broker, plc1, mqtt := of(lines[1], "mqtt://"), of(lines[1], "tcp://"), of(lines[1], "the ")
	want := fmt.Sprintf("dial mqtt://%s:1883 (%s), tcp://%s:502 %s %s, not gatewayx, gateway0, x_gateway or the %s of mqtt://%s:1883.", broker, broker, plc1, plc1, plc1, mqtt, mqtt)
	if lines[1] != want || !strings.HasPrefix(plc1, "host-") {
		t.Errorf("%s\nwant\n%s", lines[1], want)
	}
	if a, b := of(lines[0], "lookup "), of(files["config.yaml"], "tcp://"); a != b || !strings.HasPrefix(a, "host-") {
		t.Errorf("one host is %s and %s", a, b)
	}
	if !strings.HasPrefix(lines[2], "lookup of nothing on the wire; ") {
		t.Errorf("%s", lines[2])
	}
}

// Nothing is masked unless it is asked for, and then also without a word to mask.
func TestMaskIsAsked(t *testing.T) {
	for mask, want := range map[string]string{"": "mqtt://b.example 10.1.2.3", "yes": "mqtt://host-1 address-1"} {
		o := Options{Now: time.Now()}
		if mask != "" {
			o.Mask = map[string]string{}
		}
		var out bytes.Buffer
		if err := Write(t.Context(), &out, []Part{Text("a", []byte("mqtt://b.example 10.1.2.3"))}, o); err != nil {
			t.Fatal(err)
		}
		if got := unpack(t, out.Bytes())["a"]; got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
