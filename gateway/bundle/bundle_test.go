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
