// Command notices prints what must travel with a program for the licences of
// the modules linked into it: of each its name, version, where its source is,
// and its licence files as they are, then those of Go itself.
//
//	go run ./scripts/tool/notices [-debian] BINARY
//
// It reads the modules out of the program and their files out of Go's module
// cache. With -debian it prints the copyright file of the Debian package, which
// begins with the licence of fieldferry.
package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const debianHead = `fieldferry: CAN and Modbus to MQTT

Copyright: the fieldferry authors
Licence: Apache-2.0. On Debian systems the full text is in
/usr/share/common-licenses/Apache-2.0.

The program is linked with the modules below.

`

func main() {
	debian := flag.Bool("debian", false, "print the copyright file of the Debian package")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: notices [-debian] BINARY")
		os.Exit(2)
	}
	var out bytes.Buffer
	if *debian {
		out.WriteString(debianHead)
	} else {
		out.WriteString("Modules linked into fieldferry, and their licences\n\n")
	}
	if err := write(&out, flag.Arg(0), *debian); err != nil {
		fmt.Fprintln(os.Stderr, "notices:", err)
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(out.Bytes())
}

func write(w io.Writer, binary string, short bool) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return err
	}
	for _, m := range info.Deps {
		fmt.Fprintf(w, "%s %s\n", m.Path, m.Version)
	}
	fmt.Fprintf(w, "Go standard library %s\n", info.GoVersion)
	for _, m := range info.Deps {
		dir, err := source(m.Path, m.Version)
		if err != nil {
			return err
		}
		title := fmt.Sprintf("%s %s\nSource: https://pkg.go.dev/%[1]s@%[2]s, https://proxy.golang.org/%[1]s/@v/%[2]s.zip", m.Path, m.Version)
		if err := licences(w, title, dir, short); err != nil {
			return err
		}
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return err
	}
	return licences(w, "Go standard library "+info.GoVersion+"\nSource: https://go.dev/dl", strings.TrimSpace(string(root)), short)
}

// source returns where a module's files are.
func source(path, version string) (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", path+"@"+version).Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	var m struct{ Dir string }
	return m.Dir, json.Unmarshal(out, &m)
}

// terms are those of the Apache License, which Debian has once for all packages.
var terms = regexp.MustCompile(`(?s)TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION.*?additional liability\.(\s*END OF TERMS AND CONDITIONS)?`)

func licences(w io.Writer, title, dir string, short bool) error {
	found := false
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n%s\n", strings.Repeat("=", 78), title)
	for _, e := range entries {
		name := strings.ToLower(e.Name())
		is := strings.HasPrefix(name, "licen") || strings.HasPrefix(name, "copying") || strings.HasPrefix(name, "notice") ||
			strings.HasPrefix(name, "patents") || strings.HasPrefix(name, "epl-") || strings.HasPrefix(name, "edl-")
		if !is || e.IsDir() {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		found = true
		text = bytes.ReplaceAll(text, []byte("\r"), nil)
		if short {
			text = terms.ReplaceAll(text, []byte("(the terms of the Apache License, Version 2.0: /usr/share/common-licenses/Apache-2.0)"))
		}
		fmt.Fprintf(w, "%s\n%s:\n\n%s\n", strings.Repeat("-", 78), e.Name(), bytes.TrimSpace(text))
	}
	if !found {
		return fmt.Errorf("%s has no licence file in %s", title, dir)
	}
	return nil
}
