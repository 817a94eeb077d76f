package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"fieldferry/gateway/remote"
)

// partsFolder of the store has files from afar until the configuration that names
// them is put in place: SUM, or SUM.N for each chunk of one that is not whole.
const partsFolder = "parts"

// maxStaged is how much of them is kept at once.
const maxStaged = 64 << 20

// parts keep files from afar on disk, chunk by chunk: a cut of the connection or
// of the power loses at most the chunk under way.
type parts struct {
	store Store

	mu      sync.Mutex
	hashing map[string]*hashed
}

// hashed is how far a part is.
type hashed struct {
	next int // number of the chunk that comes next
	size int64
	sum  hash.Hash
}

func newParts(s Store) *parts { return &parts{store: s, hashing: map[string]*hashed{}} }

// in runs f in the folder, which is made if make says so.
func (p *parts) in(make bool, f func(*folder) error) error {
	if p.store.dir == "" {
		return fmt.Errorf("there is no directory for it; name one with --config-store")
	}
	dir := filepath.Join(p.store.dir, partsFolder)
	var d *folder
	var err error
	if make {
		var above *folder
		if above, err = makeFolder(p.store.dir, p.store.step); err != nil {
			return err
		}
		above.close()
		d, err = makeFolder(dir, p.store.step)
	} else {
		d, err = openFolder(dir)
	}
	if err != nil {
		return err
	}
	defer d.close()
	return f(d)
}

func chunkName(sum string, n int) string { return sum + "." + strconv.Itoa(n) }

// far returns how far a part is, out of its chunks on disk the first time.
func (p *parts) far(d *folder, sum string) *hashed {
	if h := p.hashing[sum]; h != nil {
		return h
	}
	h := &hashed{sum: sha256.New()}
	for {
		data, err := d.read(chunkName(sum, h.next), remote.MaxChunk)
		if err != nil {
			break
		}
		h.add(data)
	}
	p.hashing[sum] = h
	return h
}

func (h *hashed) add(data []byte) {
	_, _ = h.sum.Write(data) // it never fails
	h.next, h.size = h.next+1, h.size+int64(len(data))
}

// Missing implements [remote.Parts].
func (p *parts) Missing(sums []string) (need []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, sum := range sums {
		next := 0
		err := p.in(false, func(d *folder) error {
			if d.has(sum) {
				next = -1
			} else {
				next = p.far(d, sum).next
			}
			return nil
		})
		if err != nil || next >= 0 {
			need = append(need, sum+"/"+strconv.Itoa(next))
		}
	}
	return need
}

// Add implements [remote.Parts].
func (p *parts) Add(sum string, n int, data []byte) (whole bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	err = p.in(true, func(d *folder) error {
		if d.has(sum) {
			return nil
		}
		h := p.far(d, sum)
		if n != h.next {
			return nil // it has come already, or one before it has not
		}
		staged := int64(len(data))
		for _, other := range p.hashing {
			staged += other.size
		}
		switch {
		case len(data) == 0 || h.size+int64(len(data)) > maxPart:
			p.drop(d, sum)
			return fmt.Errorf("the part %.12s has more than %d bytes, or an empty chunk", sum, maxPart)
		case staged > maxStaged:
			p.drop(d, sum)
			return fmt.Errorf("the parts of one configuration have more than %d bytes", maxStaged)
		}
		if err := d.replace(chunkName(sum, n), data); err != nil {
			return err
		}
		h.add(data)
		if hex.EncodeToString(h.sum.Sum(nil)) != sum {
			return nil
		}
		if err := p.join(d, sum, h.next); err != nil {
			return err
		}
		whole = true
		return nil
	})
	return whole, err
}

// join makes a file of chunks. What is in it is looked at again when it is read.
func (p *parts) join(d *folder, sum string, chunks int) error {
	all := make([]byte, 0, p.hashing[sum].size)
	for n := range chunks {
		data, err := d.read(chunkName(sum, n), remote.MaxChunk)
		if err != nil {
			return err
		}
		all = append(all, data...)
	}
	if err := d.replace(sum, all); err != nil {
		return err
	}
	for n := range chunks {
		_ = d.root.Remove(chunkName(sum, n))
	}
	return nil
}

// drop begins a part again.
func (p *parts) drop(d *folder, sum string) {
	for n := range p.hashing[sum].next {
		_ = d.root.Remove(chunkName(sum, n))
	}
	delete(p.hashing, sum)
}

// Keep implements [remote.Parts].
func (p *parts) Keep(sums []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for sum := range p.hashing {
		if !slices.Contains(sums, sum) {
			delete(p.hashing, sum)
		}
	}
	_ = p.in(false, func(d *folder) error { // what stays is removed the next time
		dir, err := d.root.Open(".")
		if err != nil {
			return err
		}
		defer dir.Close()
		names, _ := dir.Readdirnames(-1)
		for _, name := range names {
			sum, _, _ := strings.Cut(strings.TrimPrefix(name, "."), ".")
			if !slices.Contains(sums, sum) {
				_ = d.root.Remove(name)
			}
		}
		return nil
	})
}

// inherited says where the files are that the configuration which runs was made
// of and that are not at the site: one that comes without files may name them too.
func (p *page) inherited() map[string]string {
	var list map[string]string
	for _, f := range p.running.Load().cfg.Parts() {
		if _, err := os.Lstat(f.Name); f.At == f.Name || !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if list == nil {
			list = map[string]string{}
		}
		list[f.Name] = f.At
	}
	return list
}

// copies says where the files are that a configuration from afar brings, and
// where those are that the one which runs was made of: each is either.
func (a afar) copies(of map[string]string) map[string]string {
	if len(of) == 0 {
		return a.d.page.inherited()
	}
	runs, list := a.d.page.running.Load(), map[string]string{}
	for _, f := range runs.cfg.Parts() {
		list[f.Name] = f.At
	}
	for name, sum := range of {
		if !filepath.IsAbs(name) {
			name = filepath.Join(filepath.Dir(a.d.opts.Path), name)
		}
		if abs, err := filepath.Abs(name); err == nil {
			list[abs] = filepath.Join(a.d.opts.Store.dir, partsFolder, sum)
		}
	}
	return list
}
