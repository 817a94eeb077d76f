package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestServiceEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "default")
	text := "# NAME=comment\n;X=comment\nPLAIN=secret\n QUOTED = \"two words \\\" \\\\ $x\" \nSINGLE='a \\ b'\nESCAPED=a\\ b\nLONG=one\\\ntwo\nEMPTY=\nSET=from the file\nno name\nLAST=1\nLAST=2"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	get := serviceEnvironment(file, func(name string) (string, bool) { return "from the shell", name == "SET" })
	for name, want := range map[string]string{
		"PLAIN": "secret", "QUOTED": `two words " \ $x`, "SINGLE": `a \ b`, "ESCAPED": "a b", "LONG": "onetwo", "EMPTY": "", "SET": "from the shell", "LAST": "2",
	} {
		if got, ok := get(name); !ok || got != want {
			t.Errorf("%s is %q, %v; want %q", name, got, ok, want)
		}
	}
	for _, name := range []string{"NAME", "X", "no name", ""} {
		if got, ok := get(name); ok {
			t.Errorf("%q is %q", name, got)
		}
	}
	if _, ok := serviceEnvironment(file+".none", func(string) (string, bool) { return "", false })("PLAIN"); ok {
		t.Error("a file that is not there has a variable")
	}
}
