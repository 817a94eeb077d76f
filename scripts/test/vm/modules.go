package vm

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// moduleOrder returns the files of the named kernel modules below root and of
// everything they depend on, each after its dependencies. A name without a
// file is taken to be built into the kernel. The dependencies come from the
// modules themselves (.modinfo), so that no depmod is needed.
func moduleOrder(root string, names []string) ([]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if name, ok := strings.CutSuffix(filepath.Base(p), ".ko"); ok && err == nil {
			files[underscores(name)] = p
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var order []string
	seen := map[string]bool{}
	var add func(name string) error
	add = func(name string) error {
		name = underscores(name)
		file := files[name]
		if file == "" || seen[name] {
			return nil
		}
		seen[name] = true
		needs, err := moduleNeeds(file)
		if err != nil {
			return fmt.Errorf("kernel module %s: %w", file, err)
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		order = append(order, file)
		return nil
	}
	for _, n := range names {
		if err := add(n); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// underscores makes one name of the two spellings a module goes by.
func underscores(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleNeeds reads the dependencies out of a module: "depends=a,b" and the
// part before "post:" of "softdep=pre: c d post: e".
func moduleNeeds(file string) ([]string, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	section := f.Section(".modinfo")
	if section == nil {
		return nil, fmt.Errorf("no .modinfo section: not a kernel module")
	}
	info, err := section.Data()
	if err != nil {
		return nil, err
	}
	return parseModinfo(info), nil
}

func parseModinfo(info []byte) []string {
	var needs []string
	for entry := range bytes.SplitSeq(info, []byte{0}) {
		key, value, _ := strings.Cut(string(entry), "=")
		switch key {
		case "depends":
			needs = append(needs, strings.FieldsFunc(value, func(r rune) bool { return r == ',' })...)
		case "softdep":
			if pre, ok := strings.CutPrefix(value, "pre:"); ok {
				pre, _, _ = strings.Cut(pre, "post:")
				needs = append(needs, strings.Fields(pre)...)
			}
		}
	}
	return needs
}
