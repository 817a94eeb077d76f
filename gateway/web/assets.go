package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

// The page: plain modules, style and one library for charts, without a build
// step. They are kept as they are and compressed once, when first asked for; the
// library and the description of the API, which nobody edits, are kept compressed.
//
//go:embed static
var static embed.FS

// asset is one file of the page, ready to be sent.
type asset struct {
	gzipped, plain []byte
	tag            string // a strong ETag
	kind           string
}

var assets = sync.OnceValue(func() map[string]*asset {
	list := map[string]*asset{}
	_ = fs.WalkDir(static, "static", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := static.ReadFile(name)
		if packed, ok := strings.CutSuffix(name, ".gz"); ok && err == nil {
			name = packed
			b, err = unpack(b)
		}
		if err != nil {
			return err
		}
		var packed bytes.Buffer
		z, _ := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		_, _ = z.Write(b)
		_ = z.Close()
		sum := sha256.Sum256(b)
		list[strings.TrimPrefix(name, "static")] = &asset{packed.Bytes(), b, `"` + hex.EncodeToString(sum[:8]) + `"`, mime.TypeByExtension(path.Ext(name))}
		return nil
	})
	return list
})

func unpack(b []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// asset is GET of a file of the page. Every other path below / is the page.
func (s *Server) asset(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path
	switch name {
	case "/":
		name = "/index.html"
	case "/api/openapi.json":
		name = "/openapi.json"
	}
	a := assets()[name]
	if a == nil {
		problem(w, http.StatusNotFound, "route", "There is nothing at this address.")
		return
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	h.Set("Cache-Control", "no-cache") // asked for again, and answered by its tag
	h.Set("ETag", a.tag)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == a.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	body := a.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		body = a.gzipped
	}
	h.Set("Content-Length", itoa(len(body)))
	_, _ = io.Copy(w, bytes.NewReader(body))
}
