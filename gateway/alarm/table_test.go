package alarm

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/ALARMS.md anew")

const root = "../.."

func TestRowsAreComplete(t *testing.T) {
	seen := map[string]*Condition{}
	for i := range Table {
		c := &Table[i]
		if !regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`).MatchString(c.Code) || seen[c.Code] != nil {
			t.Errorf("code %q is odd or there twice", c.Code)
		}
		if c.Title == "" || strings.HasSuffix(c.Title, ".") || len(c.Title) > 50 {
			t.Errorf("%s: title %q", c.Code, c.Title)
		}
		for _, s := range []string{c.Text, c.Help} {
			if !strings.HasSuffix(s, ".") || strings.ContainsAny(s, "|\n") {
				t.Errorf("%s: %q is no sentence for a table", c.Code, s)
			}
		}
		if c.Momentary && (c.After > 0 || c.Start > 0 || c.HiddenBy != nil) {
			t.Errorf("%s is over before it could be hidden", c.Code)
		}
		seen[c.Code] = c
	}
	for _, c := range Table {
		for _, by := range c.HiddenBy {
			if seen[by] == nil || by == c.Code || slices.Contains(seen[by].HiddenBy, c.Code) {
				t.Errorf("%s is hidden by %s", c.Code, by)
			}
		}
	}
}

// docs/ALARMS.md is the table for people. "go test ./gateway/alarm -update" writes it.
func TestDocument(t *testing.T) {
	path := filepath.Join(root, "docs", "ALARMS.md")
	want := document()
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is not what the table says; run go test ./gateway/alarm -update (%v)", path, err)
	}
}

func document() []byte {
	var b bytes.Buffer
	head, err := os.ReadFile(filepath.Join("testdata", "head.txt"))
	if err != nil {
		panic(err)
	}
	b.Write(head)
	b.WriteString("| code | severity | what it means | what to do |\n| --- | --- | --- | --- |\n")
	for _, c := range Table {
		mean := "**" + c.Title + ".** " + c.Text
		if c.After > 0 {
			mean += fmt.Sprintf(" Raised when it has lasted %v.", c.After)
		}
		if c.Start > 0 {
			mean += fmt.Sprintf(" Not raised within %v of the start, as hardware may come up later than the service.", c.Start)
		}
		if c.HiddenBy != nil {
			mean += " Not raised while `" + strings.Join(c.HiddenBy, "` or `") + "` explains it."
		}
		severity := c.Severity.String()
		if c.Momentary {
			severity += ", event"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Code, severity, mean, c.Help)
	}
	return b.Bytes()
}

// source is one package of the tree, as far as this test looks into it.
type source struct {
	files  []*ast.File
	consts map[string]string // string constants
}

func parseTree(t *testing.T) map[string]*source {
	t.Helper()
	tree := map[string]*source{}
	for _, room := range []string{"bus", "buffer", "gateway", "uplink"} {
		err := filepath.WalkDir(filepath.Join(root, room), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			dir, _ := filepath.Rel(root, filepath.Dir(path))
			if tree[dir] == nil {
				tree[dir] = &source{consts: map[string]string{}}
			}
			s := tree[dir]
			s.files = append(s.files, f)
			for _, decl := range f.Decls {
				g, ok := decl.(*ast.GenDecl)
				if !ok || g.Tok != token.CONST {
					continue
				}
				for _, spec := range g.Specs {
					v := spec.(*ast.ValueSpec)
					for i, value := range v.Values {
						if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
							s.consts[v.Names[i].Name], _ = strconv.Unquote(lit.Value)
						}
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return tree
}

// reports says whether the package knows what an event or a condition is:
// nothing else can report one.
func (s *source) reports() bool {
	for _, f := range s.files {
		if f.Name.Name == "bus" || f.Name.Name == "alarm" {
			return true
		}
		for _, i := range f.Imports {
			if path, _ := strconv.Unquote(i.Path.Value); path == "fieldferry/bus" || path == "fieldferry/gateway/alarm" {
				return true
			}
		}
	}
	return false
}

// codesIn calls found for every code that the package hands on: the member
// Code of a bus.Event, and whatever is given to a function for its string
// parameter "code".
func (s *source) codesIn(found func(e ast.Expr)) {
	params, others := map[string]int{}, map[string]bool{}
	each := func(visit func(ast.Node)) {
		for _, f := range s.files {
			ast.Inspect(f, func(n ast.Node) bool { visit(n); return true })
		}
	}
	each(func(n ast.Node) {
		f, ok := n.(*ast.FuncDecl)
		if !ok {
			return
		}
		i, takes := 0, false
		for _, field := range f.Type.Params.List {
			for _, name := range field.Names {
				if id, ok := field.Type.(*ast.Ident); ok && id.Name == "string" && name.Name == "code" {
					params[f.Name.Name], takes = i, true
				}
				i++
			}
		}
		others[f.Name.Name] = others[f.Name.Name] || !takes
	})
	for name, other := range others {
		if other { // which of them is called cannot be told
			delete(params, name)
		}
	}
	each(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.CompositeLit:
			sel, ok := n.Type.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Event" {
				return
			}
			for _, e := range n.Elts {
				if kv, ok := e.(*ast.KeyValueExpr); ok && fmt.Sprint(kv.Key) == "Code" {
					found(kv.Value)
				}
			}
		case *ast.CallExpr:
			name := ""
			switch f := n.Fun.(type) {
			case *ast.SelectorExpr:
				name = f.Sel.Name
			case *ast.Ident:
				name = f.Name
			}
			if i, ok := params[name]; ok && i < len(n.Args) {
				found(n.Args[i])
			}
		}
	})
}

// Every code that is reported anywhere has a row, and every row a code that
// somebody reports.
func TestTableAndTreeAgree(t *testing.T) {
	tree := parseTree(t)
	rows := map[string]bool{}
	for _, c := range Table {
		rows[c.Code] = true
	}
	for name, code := range tree["bus"].consts {
		if !rows[code] {
			t.Errorf("bus.%s = %q has no row in the table", name, code)
		}
	}
	used := map[string]bool{}
	for dir, s := range tree {
		if !s.reports() {
			continue // what it calls a code is not one of a condition
		}
		s.codesIn(func(e ast.Expr) {
			code, known := "", false
			switch e := e.(type) {
			case *ast.BasicLit:
				code, _ = strconv.Unquote(e.Value)
				known = true
			case *ast.Ident:
				if e.Name == "code" { // handed on, or one of a list
					return
				}
				code, known = s.consts[e.Name]
			case *ast.SelectorExpr:
				switch p := fmt.Sprint(e.X); {
				case e.Sel.Name == "code" || e.Sel.Name == "Code": // handed on
					return
				case p == "bus" || p == "alarm":
					dir := map[string]string{"bus": "bus", "alarm": "gateway/alarm"}[p]
					code, known = tree[dir].consts[e.Sel.Name]
				}
			default: // of another method of that name
				return
			}
			if !known || !rows[code] {
				t.Errorf("%s reports %q, which has no row in gateway/alarm/table.go", dir, code)
			}
			used[code] = true
		})
		// Lists of codes, and what is handed on without a name.
		for _, f := range s.files {
			if f.Name.Name == "bus" {
				continue
			}
			table := false
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.ValueSpec:
					table = n.Names[0].Name == "Table"
					return !table
				case *ast.SelectorExpr:
					if x := fmt.Sprint(n.X); x == "bus" {
						used[tree["bus"].consts[n.Sel.Name]] = true
					} else if x == "alarm" {
						used[tree["gateway/alarm"].consts[n.Sel.Name]] = true
					}
				case *ast.Ident:
					if dir == "gateway/alarm" && n.Name == "Started" {
						used["started"] = true
					}
				}
				return true
			})
		}
	}
	for code := range rows {
		if !used[code] {
			t.Errorf("nobody reports %s", code)
		}
	}
}
