// Command pack compresses the files of the page, as which they are in the binary.
//
//	go run ./scripts/tool/pack OUT FILE|DIR...
//
// A file that OUT already has with this content stays as it is: another version
// of Go compresses into other bytes. Whatever else is in OUT is removed.
package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: pack OUT FILE|DIR...")
		os.Exit(2)
	}
	if err := pack(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
}

func pack(out string, from []string) error {
	keep := map[string]bool{}
	for _, root := range from {
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			inside := filepath.Base(name)
			if name != root {
				inside, _ = filepath.Rel(root, name)
			}
			to := filepath.Join(out, inside) + ".gz"
			keep[to] = true
			return file(name, to)
		})
		if err != nil {
			return err
		}
	}
	return filepath.WalkDir(out, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || keep[name] {
			return err
		}
		return os.Remove(name)
	})
}

// file compresses one file, unless it is there already.
func file(from, to string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if has, err := unpack(to); err == nil && bytes.Equal(has, text) {
		return nil
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return err
	}
	_, werr := z.Write(text)
	return errors.Join(werr, z.Close(), os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, packed.Bytes(), 0o644))
}

func unpack(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}
