package web

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// maxAssets is what the whole page may take over the wire. A gateway is looked at
// over mobile links.
const maxAssets = 150_000

func TestAssetsAreSmall(t *testing.T) {
	total := 0
	for name, a := range assets().files {
		if name != "/openapi.json" { // no part of the page
			total += len(a.gzipped)
		}
	}
	if total > maxAssets || total < 10_000 {
		t.Errorf("the page takes %d bytes compressed; at most %d", total, maxAssets)
	}
}

// The library for charts is uPlot 1.6.32 (MIT) as npm has it, unchanged.
func TestVendoredLibraryIsTheReleasedOne(t *testing.T) {
	for name, want := range map[string]string{
		"/vendor/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
		"/vendor/uPlot.min.css":     "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
		"/vendor/uPlot.LICENSE":     "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
	} {
		a := assets().files[name]
		if a == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		if sum := sha256.Sum256(a.plain); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s is not the released one", name)
		}
	}
	if js := assets().files["/vendor/uPlot.iife.min.js"]; js != nil && !strings.Contains(string(js.plain[:200]), "v1.6.32") {
		t.Error("the file does not say v1.6.32")
	}
}

// The content security policy allows neither script nor style within the HTML.
func TestNothingIsInline(t *testing.T) {
	html := string(assets().files["/index.html"].plain)
	for _, bad := range []string{"style=", "<style", "onclick", "javascript:"} {
		if strings.Contains(html, bad) {
			t.Errorf("index.html has %s", bad)
		}
	}
	for name, a := range assets().files {
		if !strings.HasSuffix(name, ".js") || strings.HasPrefix(name, "/vendor/") {
			continue
		}
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://"} {
			if strings.Contains(string(a.plain), bad) {
				t.Errorf("%s uses %s: text enters the page by textContent only", name, bad)
			}
		}
	}
}

// The binary has the files as they are written: what is compressed is compared
// unpacked, since each version of Go compresses into other bytes.
func TestPackedAssetsAreTheSources(t *testing.T) {
	have := map[string]string{}
	err := fs.WalkDir(packed, "packed", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		gz, err := packed.ReadFile(name)
		if err != nil {
			return err
		}
		text, err := unpack(gz)
		have[strings.TrimSuffix(strings.TrimPrefix(name, "packed/"), ".gz")] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sources := 0
	compare := func(name, file string) {
		sources++
		text, err := os.ReadFile(file)
		if got, ok := have[name]; err != nil || !ok || got != string(text) {
			t.Errorf("packed/%s.gz is not %s; run go generate ./gateway/web (%v)", name, file, err)
		}
	}
	compare("openapi.json", openapiFile)
	if err := filepath.WalkDir("static", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			compare(strings.TrimPrefix(name, "static/"), name)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if len(have) != sources {
		t.Errorf("%d files are packed, %d are written; run go generate ./gateway/web", len(have), sources)
	}
}

// What the page names is kept by a browser for good, and the page itself is not,
// so that an update is seen at once.
func TestAssetsAreKeptByTheirContent(t *testing.T) {
	b := newBench(t, Config{})
	page := b.ask("GET", "/", "")
	if page.StatusCode != 200 || page.Header.Get("Cache-Control") != "no-cache" {
		t.Fatalf("%d %v", page.StatusCode, page.Header)
	}
	named := regexp.MustCompile(`(?:href|src)="(assets/[^"]+)"`).FindAllStringSubmatch(all(t, page), -1)
	if len(named) != 4 {
		t.Fatalf("the page names %v", named)
	}
	const forever = "public, max-age=31536000, immutable"
	for _, n := range named {
		for _, encoding := range []string{"gzip, deflate", "identity"} {
			r := b.ask("GET", "/"+n[1], "", "Accept-Encoding", encoding)
			body := []byte(all(t, r))
			if r.Header.Get("Content-Encoding") == "gzip" {
				var err error
				if body, err = unpack(body); err != nil || encoding == "identity" {
					t.Errorf("%s with %s: %v", n[1], encoding, err)
				}
			}
			_, file, _ := strings.Cut(strings.TrimPrefix(n[1], "assets/"), "/")
			want, err := os.ReadFile("static/" + file)
			if err != nil || r.StatusCode != 200 || r.Header.Get("Cache-Control") != forever || !bytes.Equal(body, want) {
				t.Errorf("%s with %s: %d %v, %d bytes", n[1], encoding, r.StatusCode, r.Header, len(body))
			}
		}
	}
	// A page from before an update.
	if r := b.ask("GET", "/assets/0123456789abcdef/app.js", ""); r.StatusCode != 200 || r.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("%d %v", r.StatusCode, r.Header)
	}
	for _, wrong := range []string{"/assets/" + assets().sum + "/nothing.js", "/assets/", "/assets/x", "/packed/app.js.gz"} {
		if r := b.ask("GET", wrong, ""); r.StatusCode != 404 {
			t.Errorf("%s: %d", wrong, r.StatusCode)
		}
	}
	again := b.ask("GET", "/", "", "If-None-Match", page.Header.Get("ETag"))
	if again.StatusCode != 304 {
		t.Errorf("%d", again.StatusCode)
	}
}

func all(t *testing.T, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
