package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"
)

func TestRunProgram(t *testing.T) {
	var out strings.Builder
	if err := runProgram(t.Context(), &out, &out, "sh", "-c", "echo out; echo err >&2; cat; exit 3"); err != nil || out.String() != "out\nerr\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	out.Reset()
	if err := runProgram(t.Context(), &out, nil, "sh", "-c", "echo out; echo err >&2"); err != nil || out.String() != "out\n" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := runProgram(t.Context(), &out, nil, "no-such-program"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
	// One that does not end is ended, also when a child of it holds the pipe.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := runProgram(ctx, &out, nil, "sh", "-c", "sleep 5 & sleep 5"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	t.Setenv("PATH", "."+string(os.PathListSeparator)+t.TempDir())
	if err := runProgram(t.Context(), &out, nil, "sh"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
