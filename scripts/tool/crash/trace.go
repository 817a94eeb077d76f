package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// recorded are the system calls that change files, and those that make the
// changes last; and write, which is also how a workload says what it promises.
const recorded = "?open,openat,?mkdir,mkdirat,pwrite64,write,ftruncate,?fallocate,fsync,fdatasync,?rename,?renameat,?renameat2,?link,linkat,?unlink,unlinkat,close"

// event is one system call that a workload made. A call is in effect when it
// ends, and what it makes last is what was in effect when it began.
type event struct {
	began  int // how many calls had ended when it began
	name   string
	path   string // the first one
	path2  string
	fd     int // that it was given
	flags  string
	data   []byte
	a, b   int64 // what follows the data, or the descriptor
	result int64
}

// record runs a workload under strace and returns the calls that succeeded, in
// the order in which they ended.
func record(ctx context.Context, log string, argv ...string) ([]event, error) {
	args := append([]string{"-f", "-qq", "-xx", "-s", strconv.Itoa(8 << 20), "-e", "signal=none", "-e", "trace=" + recorded, "-o", log}, argv...)
	var msg bytes.Buffer
	cmd := exec.CommandContext(ctx, "strace", args...)
	cmd.Stderr = &msg
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("the workload under strace: %w\n%s", err, &msg)
	}
	f, err := os.Open(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var events []event
	begun := map[string]begunCall{} // by thread
	opened := map[int]string{}      // paths by descriptor: names are opened in directories
	lines := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := lines.ReadString('\n')
		if line == "" && err != nil {
			return events, nil
		}
		thread, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		text = strings.TrimLeft(text, " ")
		call := begunCall{text, len(events)}
		switch head, unfinished := strings.CutSuffix(text, "<unfinished ...>"); {
		case unfinished:
			begun[thread] = begunCall{head, len(events)}
			continue
		case strings.HasPrefix(text, "<... "):
			_, rest, _ := strings.Cut(text, " resumed>")
			call = begun[thread]
			call.text += rest
		}
		e, err := parse(call.text)
		if errors.Is(err, errFailed) {
			continue
		}
		if err != nil {
			return nil, err
		}
		e.began = call.at
		e.resolve(opened)
		events = append(events, e)
	}
}

// resolve makes the name of a file in an open directory a path, and notes what
// is opened and closed.
func (e *event) resolve(opened map[int]string) {
	if dir := opened[e.fd]; e.name == "openat" && dir != "" && !filepath.IsAbs(e.path) {
		e.path = filepath.Join(dir, e.path)
	}
	switch e.name {
	case "open", "openat":
		opened[int(e.result)] = e.path
	case "close":
		delete(opened, e.fd)
	}
}

// begunCall is the part of a line that is known when a call begins.
type begunCall struct {
	text string
	at   int
}

var errFailed = errors.New("the call failed")

var (
	callForm   = regexp.MustCompile(`^([a-z0-9_]+)\((.*)\)\s+= (-?\d+)`)
	stringForm = regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"`)
)

// parse reads a call as strace prints it.
func parse(text string) (e event, err error) {
	m := callForm.FindStringSubmatch(text)
	if m == nil {
		if strings.Contains(text, ") = ? ") || strings.HasPrefix(text, "+++") || strings.HasSuffix(text, "= ?") || strings.HasSuffix(text, "<detached ...>") {
			return e, errFailed // the process has ended
		}
		return e, fmt.Errorf("strace said %.200q", text)
	}
	if strings.HasPrefix(m[3], "-") {
		return e, errFailed
	}
	e.name = m[1]
	e.result, _ = strconv.ParseInt(m[3], 10, 64)
	var texts []string
	rest := stringForm.ReplaceAllStringFunc(m[2], func(s string) string {
		texts = append(texts, unhex(s[1:len(s)-1]))
		return "@"
	})
	args := strings.Split(strings.ReplaceAll(rest, " ", ""), ",")
	switch e.name {
	case "write", "pwrite64":
		e.data = []byte(texts[0])
	default:
		texts = append(texts, "", "")
		e.path, e.path2 = texts[0], texts[1]
	}
	e.fd, _ = strconv.Atoi(args[0])
	for i, a := range args {
		if strings.HasPrefix(a, "O_") {
			e.flags = a
		}
		if n, err := strconv.ParseInt(a, 10, 64); err == nil && i > 0 {
			e.a, e.b = e.b, n // the last two numbers
		}
	}
	return e, nil
}

func unhex(s string) string {
	b := make([]byte, 0, len(s)/4)
	for i := 0; i+4 <= len(s); i += 4 {
		n, _ := strconv.ParseUint(s[i+2:i+4], 16, 8)
		b = append(b, byte(n))
	}
	return string(b)
}
