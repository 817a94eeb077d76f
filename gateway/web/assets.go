package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
)

// The page: plain modules, style and one library for charts. The binary has the
// files of static/ compressed, and the description of the API, so that a small
// controller's flash holds 80 kB less.
//
//go:generate go run fieldferry/scripts/tool/pack packed static openapi.json
//go:embed packed
var packed embed.FS

// asset is one file of the page, ready to be sent.
type asset struct {
	gzipped, plain []byte // gzipped: nil for the page itself
	tag            string // a strong ETag
	kind           string
}

// site is the whole page. Everything but index.html is at assets/SUM/, so that a
// browser never asks for it again, and never mixes two versions: the modules name
// each other relative to where they are.
type site struct {
	sum   string // of all files
	files map[string]*asset
}

var assets = sync.OnceValue(func() site {
	s := site{files: map[string]*asset{}}
	all := sha256.New()
	err := fs.WalkDir(packed, "packed", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		gz, err := packed.ReadFile(name)
		if err != nil {
			return err
		}
		plain, err := unpack(gz)
		if err != nil {
			return err
		}
		name = strings.TrimSuffix(strings.TrimPrefix(name, "packed"), ".gz")
		sum := sha256.Sum256(plain)
		_, _ = all.Write(append(sum[:], name...))
		s.files[name] = &asset{gz, plain, tag(sum[:]), kinds[path.Ext(name)]}
		return nil
	})
	if err != nil {
		panic("the page in this binary cannot be read: " + err.Error())
	}
	s.sum = hex.EncodeToString(all.Sum(nil)[:8])
	page := s.files["/index.html"]
	page.plain = bytes.ReplaceAll(page.plain, []byte(`="assets/`), []byte(`="assets/`+s.sum+`/`))
	page.gzipped, page.tag = nil, tag(all.Sum(nil))
	return s
})

// kinds are the media types of the page's files. Package mime would ask the files
// of the machine.
var kinds = map[string]string{".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".html": "text/html; charset=utf-8",
	".json": "application/json", ".LICENSE": "text/plain; charset=utf-8"}

func tag(sum []byte) string { return `"` + hex.EncodeToString(sum[:8]) + `"` }

func unpack(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// find returns the file at an address, and whether that address is for this
// content only.
func (s site) find(address string) (a *asset, fixed bool) {
	switch address {
	case "/":
		address = "/index.html"
	case "/api/openapi.json":
		address = "/openapi.json"
	}
	if under, ok := strings.CutPrefix(address, "/assets/"); ok {
		sum, name, _ := strings.Cut(under, "/")
		return s.files["/"+name], sum == s.sum // a page loaded before an update gets what there is now
	}
	return s.files[address], false
}

// asset is GET of a file of the page.
func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	a, fixed := assets().find(r.URL.Path)
	if a == nil {
		problem(w, http.StatusNotFound, "route", "There is nothing at this address.")
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "no-cache") // asked for again, and answered by its tag
	if fixed {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	h.Set("ETag", a.tag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == a.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := a.plain
	if a.gzipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.gzipped
	}
	h.Set("Content-Length", itoa(len(body)))
	_, _ = io.Copy(w, bytes.NewReader(body))
}
