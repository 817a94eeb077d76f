package bundle

import (
	"archive/tar"
	"bytes"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// What put writes is an archive to those who know all its dialects.
func TestTar(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	var out bytes.Buffer
	sizes := []int{0, 1, 511, 512, 513, PartSize}
	for _, n := range sizes {
		if err := put(&out, "some/file.txt", bytes.Repeat([]byte("x"), n), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := put(&out, "before.txt", nil, time.Time{}); err != nil {
		t.Fatal(err)
	}
	if err := end(&out); err != nil {
		t.Fatal(err)
	}
	if put(io.Discard, strings.Repeat("n", 90), nil, at) == nil {
		t.Error("a name that does not fit is written")
	}
	r := tar.NewReader(bytes.NewReader(out.Bytes()))
	for _, n := range sizes {
		h, err := r.Next()
		if err != nil || h.Name != "fieldferry-bundle/some/file.txt" || h.Size != int64(n) || h.Mode != 0o600 || !h.ModTime.Equal(at) || h.Typeflag != tar.TypeReg || h.Format != tar.FormatUSTAR {
			t.Errorf("%+v %v", h, err)
		}
		if text, err := io.ReadAll(r); err != nil || len(text) != n || strings.Trim(string(text), "x") != "" {
			t.Errorf("%d bytes of %d, %v", len(text), n, err)
		}
	}
	if h, err := r.Next(); err != nil || !h.ModTime.Equal(time.Unix(0, 0)) {
		t.Errorf("%+v %v", h, err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
	program, err := exec.LookPath("tar")
	if err != nil {
		t.Skip("no tar")
	}
	list := exec.Command(program, "-C", t.TempDir(), "-xvf", "-")
	list.Stdin = &out
	if said, err := list.CombinedOutput(); err != nil || strings.Count(string(said), filepath.Join("fieldferry-bundle", "some")) != len(sizes) {
		t.Errorf("%v\n%s", err, said)
	}
}
