package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// plain are forms that make a reader stop, and what is written instead.
var plain = []struct {
	form    *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`(?i)\banew\b`), "again"},
	{regexp.MustCompile(`(?i)\bfor ever\b`), "forever"},
	{regexp.MustCompile(`(?:[Tt]here )?\b(?:is|are|was|were) no(?: longer)?\b`), "is not a"},
	{regexp.MustCompile(`(?i)\b(goes|go|went|going) on\b`), "continues, keeps"},
	{regexp.MustCompile(`(?i)\bof before\b`), "earlier"},
	{regexp.MustCompile(`(?i)\b(tells?|told)\b`), "reports, says"},
	{regexp.MustCompile(`(?i)\bare (missing|left|open) yet\b`), "are still missing"},
	{regexp.MustCompile(`(?i)\bfor instance\b`), "for example"},
	{regexp.MustCompile(`(^|[.:] )(What|Who|Whoever|Of which)\b[^?\n]*[^?]$`), "a sentence that begins with its subject"},
}

func objections(text string) (list []string) {
	for _, p := range plain {
		for _, m := range p.form.FindAllString(text, -1) {
			if strings.HasSuffix(m, "no longer") || strings.HasPrefix(strings.ToLower(m), "there ") {
				continue
			}
			list = append(list, strconv.Quote(m)+", better: "+p.instead)
		}
	}
	return list
}

// Documents and everything that the program says are written so that a native
// reader reads each sentence once.
func TestPlainEnglish(t *testing.T) {
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || name == "testdata" || name == "bin" || name == "dist" || name == ".cache" || name == "house" {
				return fs.SkipDir
			}
			return nil
		}
		switch {
		case strings.HasSuffix(path, ".md"):
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for i, line := range strings.Split(string(b), "\n") {
				for _, o := range objections(line) {
					t.Errorf("%s:%d: %s", path, i+1, o)
				}
			}
		case strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") && !strings.Contains(path, "/scripts/"):
			return literals(path, func(at token.Position, text string) {
				for _, o := range objections(text) {
					t.Errorf("%s:%d: %s", path, at.Line, o)
				}
			})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// literals calls fn with each string of a program file that has a space in it.
func literals(path string, fn func(token.Position, string)) error {
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		return err
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil && strings.Contains(s, " ") {
				fn(files.Position(lit.Pos()), s)
			}
		}
		return true
	})
	return nil
}

func TestPlainEnglishFindsOtherForms(t *testing.T) {
	for text, n := range map[string]int{
		"It goes on.": 1, "The list is written anew.": 1, "It is no list": 1, "It is no longer there.": 0, "There is no list.": 0,
		"What is left stays there.": 1, "What is it?": 0, "The loss is told once, for ever.": 2, "It begins here.": 0,
	} {
		if got := objections(text); len(got) != n {
			t.Errorf("%q: %q, want %d", text, got, n)
		}
	}
}
