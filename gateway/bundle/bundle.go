// Package bundle writes what somebody needs who is to help from afar: a
// .tar.gz of small files about a gateway, without secrets and without records.
//
// # Nouns
//
// A [Part] is one file of it. MANIFEST lists them with their sizes.
//
// # Promise
//
// A part that fails, hangs or grows is a file with its error, and the others
// are there. The secrets that are known are taken out of every file, whoever
// wrote it.
package bundle

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"
)

// What a part may take.
const (
	PartTime = 15 * time.Second
	PartSize = 2 << 20
	maxParts = 64 // 20 MiB are not reached: text packs well
)

// Part is one file.
type Part struct {
	Name  string
	Write func(ctx context.Context, w io.Writer) error
}

// Options say what is taken out.
type Options struct {
	Secrets []string          // never to be shown
	Mask    map[string]string // words to replace, such as names; nil: nothing is masked
	Hosts   []string          // host names, and URLs with some, to mask besides those that stand in the parts
	Now     time.Time
}

const hidden = "********"

// Write writes the archive. Its error says which parts failed; the archive is
// whole nevertheless, unless w failed.
func Write(ctx context.Context, w io.Writer, parts []Part, o Options) error {
	packed := gzip.NewWriter(w)
	parts = parts[:min(len(parts), maxParts)]
	texts, errs := make([][]byte, len(parts)), make([]error, len(parts))
	for i, p := range parts { // all before any is cleaned: what one tells of hosts is masked in the others
		texts[i], errs[i] = run(ctx, p)
	}
	clean := o.cleaner(texts)
	var manifest strings.Builder
	var failed []error
	for i, p := range parts {
		text, err := clean(texts[i]), errs[i]
		texts[i] = nil
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p.Name, err))
			fmt.Fprintf(&manifest, "%9d  %s  FAILED: %s\n", len(text), p.Name, clean([]byte(err.Error())))
		} else {
			fmt.Fprintf(&manifest, "%9d  %s\n", len(text), p.Name)
		}
		if err := put(packed, p.Name, text, o.Now); err != nil {
			return err
		}
	}
	if err := put(packed, "MANIFEST", []byte(manifest.String()), o.Now); err != nil {
		return err
	}
	if err := errors.Join(end(packed), packed.Close()); err != nil {
		return err
	}
	return errors.Join(failed...)
}

// run writes one part, and gives up on one that hangs. What it wrote until then
// is kept.
func run(ctx context.Context, p Part) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, PartTime)
	defer cancel()
	out := &limited{}
	ended := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				ended <- fmt.Errorf("it panicked: %v", r)
			}
		}()
		ended <- p.Write(ctx, out)
	}()
	select {
	case err := <-ended:
		return out.take(), err
	case <-ctx.Done():
		return out.take(), fmt.Errorf("it took longer than %v", PartTime)
	}
}

// cleaner returns what takes secrets out, and masks.
func (o Options) cleaner(texts [][]byte) func([]byte) []byte {
	var pairs, names []string
	for _, s := range o.Secrets {
		if len(s) >= 3 { // one of a letter would take the text apart
			pairs = append(pairs, s, hidden)
		}
	}
	for word, mask := range o.Mask {
		if len(word) >= 3 {
			names = append(names, word, mask)
		}
	}
	secrets, words := strings.NewReplacer(pairs...), strings.NewReplacer(names...)
	var hosts func(string) string
	if o.Mask != nil {
		hosts = hostMasker(texts, o.Hosts)
	}
	addresses := map[string]string{}
	return func(text []byte) []byte {
		out := secrets.Replace(string(text))
		out = userinfo().ReplaceAllString(out, "${1}"+hidden+"@")
		if o.Mask != nil {
			out = words.Replace(hosts(out)) // an id can be part of a host's name
			out = address().ReplaceAllStringFunc(out, func(s string) string {
				if ip, err := netip.ParseAddr(s); err != nil || ip.IsLoopback() || ip.IsUnspecified() {
					return s
				}
				if addresses[s] == "" {
					addresses[s] = fmt.Sprintf("address-%d", len(addresses)+1)
				}
				return addresses[s]
			})
		}
		return []byte(out)
	}
}

var (
	userinfo = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(://)[^/\s"'@]*@`) })
	address  = sync.OnceValue(func() *regexp.Regexp {
		return regexp.MustCompile(`\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[0-9a-fA-F]{1,4}(?::[0-9a-fA-F]{0,4}){2,7}\b`)
	})
)

// Text is a part of a text that is there.
func Text(name string, text []byte) Part {
	return Part{name, func(_ context.Context, w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(text))
		return err
	}}
}
