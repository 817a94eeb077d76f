package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// siteDir writes a configuration with its folder; a name that ends in a slash is
// a directory, and text that begins with -> a link.
func siteDir(t *testing.T, files map[string]string) (path string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		switch to, link := strings.CutPrefix(text, "->"); {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(at, 0o700)
		case link:
			err = os.Symlink(to, at)
		case text == "|":
			err = unix.Mkfifo(at, 0o600)
		default:
			err = os.WriteFile(at, []byte(text), 0o640)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "f.yaml")
}

const (
	siteMain = "gateway: {id: gw}\nuplink: {servers: [\"mqtts://h\"], username: u}\ncan: [{interface: can0}]\n"
	siteLine = "# a line\nmodbus:\n  - {name: l, port: /dev/ttyS9, devices: [{name: d, unit_id: 1, registers: [{name: u, address: 0}]}]}\n"
)

// What the folder has is added to the configuration, or refused in words that
// name the file, the line and the key.
func TestSiteProblems(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string // beside f.yaml
		main  string            // empty: siteMain
		want  string            // FILE:LINE:COL: key: what, each on a line; empty: nothing
	}{
		"no folder":       {},
		"an empty folder": {files: map[string]string{"conf.d/": ""}},
		"a line":          {files: map[string]string{"conf.d/10-line.yaml": siteLine}},
		"only comments":   {files: map[string]string{"conf.d/10-line.yaml": "# modbus:\n"}},
		"nothing":         {files: map[string]string{"conf.d/10-line.yaml": ""}},
		"others": {files: map[string]string{"conf.d/.hidden.yaml": "x", "conf.d/a.yaml.dpkg-old": "x", "conf.d/a.yaml~": "x", "conf.d/README": "x",
			"conf.d/a.yaml.replaced": "x", "conf.d/.git/": "", "conf.d/#a.yaml#": "x", "conf.d/sub/x.yaml": "x"}},
		"keys of a map":           {files: map[string]string{"conf.d/a.yaml": "gateway: {clock: trusted}\nuplink: {batch: {max_delay: 2s}, in_flight: 3}\n", "conf.d/b.yaml": "uplink: {batch: {max_records: 7}}\n"}},
		"a link":                  {files: map[string]string{"conf.d/a.yaml": "->../line.txt", "line.txt": siteLine}},
		"everything is in there":  {main: "# nothing here\n", files: map[string]string{"conf.d/a.yaml": siteMain, "conf.d/b.yaml": siteLine}},
		"without an end of line":  {main: strings.TrimSuffix(siteMain, "\n"), files: map[string]string{"conf.d/a.yaml": strings.TrimSuffix(siteLine, "\n")}},
		"other line ends":         {main: "\ufeff" + strings.ReplaceAll(siteMain, "\n", "\r"), files: map[string]string{"conf.d/a.yaml": "\ufeff" + strings.ReplaceAll(siteLine, "\n", "\r\n")}},
		"a document begins":       {main: "---\n" + siteMain, files: map[string]string{"conf.d/a.yaml": "---\n" + siteLine}},
		"a text that was saved":   {main: siteMain + "--- # conf.d/a.yaml\n" + siteLine},
		"the same key":            {files: map[string]string{"conf.d/a.yaml": "\ngateway:\n  id: other\n"}, want: "conf.d/a.yaml:3:3: gateway.id: is given in two files, first on line 1 of f.yaml"},
		"the same key, drop-ins":  {files: map[string]string{"conf.d/a.yaml": "web: {listen: 127.0.0.1:8090, max_clients: 7}\n", "conf.d/b.yaml": "web: {max_clients: 7}\n"}, want: "conf.d/b.yaml:1:7: web.max_clients: is given in two files, first on line 1 of conf.d/a.yaml"},
		"a list of values":        {files: map[string]string{"conf.d/a.yaml": "uplink: {servers: [\"mqtt://i\"]}\n"}, want: "conf.d/a.yaml:1:10: uplink.servers: is given in two files, first on line 2 of f.yaml"},
		"a list and none":         {files: map[string]string{"conf.d/a.yaml": "can: {interface: can1}\n"}, want: "conf.d/a.yaml:1:1: can: is given in two files, first on line 3 of f.yaml"},
		"the same key, its rival": {files: map[string]string{"conf.d/a.yaml": "uplink: {password: x}\n", "conf.d/b.yaml": "uplink: {password_file: /dev/null}\n"}, want: "conf.d/a.yaml:1:20: uplink.password: there is a password_file too\nconf.d/b.yaml:1:25: uplink.password_file: /dev/null"},
		"twice in one file":       {files: map[string]string{"conf.d/a.yaml": "log: {level: info}\nlog: {level: warn}\n"}, want: "conf.d/a.yaml:2:1: log: is given twice, first on line 1 of conf.d/a.yaml"},
		"the same source":         {files: map[string]string{"conf.d/a.yaml": "\ncan: [{interface: can0}]\n"}, want: `conf.d/a.yaml:2:19: can[1].interface: the source "can0" has the same name as can[0].interface on line 3 of f.yaml`},
		"an unknown key":          {files: map[string]string{"conf.d/a.yaml": siteLine + "modbsu: []\n"}, want: "conf.d/a.yaml:4:1: modbsu: unknown key"},
		"both are wrong":          {main: siteMain + "x: 1\n", files: map[string]string{"conf.d/a.yaml": "y: 1\n"}, want: "f.yaml:4:1: x: unknown key\nconf.d/a.yaml:1:1: y: unknown key"},
		"both are not YAML":       {main: siteMain + "x: [\n", files: map[string]string{"conf.d/a.yaml": "\n\ty: 1\n"}, want: "f.yaml:4:4: sequence end token ']' not found\nconf.d/a.yaml:2:1: the line is indented with a tab"},
		"a list":                  {files: map[string]string{"conf.d/a.yaml": "- {interface: can1}\n"}, want: "conf.d/a.yaml:1:1: the top level is not keys"},
		"an anchor":               {main: strings.Replace(siteMain, "gw", "&a gw", 1), files: map[string]string{"conf.d/a.yaml": "log: {level: *a}\n"}, want: "f.yaml:1:15: anchors are not accepted\nconf.d/a.yaml:1:14: aliases are not accepted"},
		"not UTF-8":               {files: map[string]string{"conf.d/a.yaml": "# \xff\n"}, want: "conf.d/a.yaml:1:3: byte 0xFF is not UTF-8"},
		"UTF-16":                  {files: map[string]string{"conf.d/a.yaml": "\xff\xfe#\x00\n\x00"}, want: "conf.d/a.yaml:1:1: the file is UTF-16"},
		"two documents":           {files: map[string]string{"conf.d/a.yaml": "log: {level: info}\n---\nlog: {level: info}\n"}, want: "conf.d/a.yaml:2:1: a second document begins"},
		"a file in a file":        {files: map[string]string{"conf.d/a.yaml": "# x\n--- # conf.d/b.yaml\nlog: {level: info}\n"}, want: "conf.d/a.yaml: the file has a line that begins another one"},
		"a file in a quotation":   {files: map[string]string{"conf.d/a.yaml": "gateway: {clock: \"trusted\n--- # conf.d/b.yaml\n\"}\n"}, want: "conf.d/a.yaml: the file has a line that begins another one"},
		"a directory":             {files: map[string]string{"conf.d/a.yaml/": ""}, want: "conf.d/a.yaml: the file is a directory"},
		"a pipe":                  {files: map[string]string{"conf.d/a.yaml": "|"}, want: "conf.d/a.yaml: the file is a named pipe"},
		"a device":                {files: map[string]string{"conf.d/a.yaml": "->/dev/zero"}, want: "conf.d/a.yaml: the file is a device"},
		"a link to nothing":       {files: map[string]string{"conf.d/a.yaml": "->nothing"}, want: "conf.d/a.yaml: the file does not exist"},
		"a link to itself":        {files: map[string]string{"conf.d/a.yaml": "->a.yaml"}, want: "conf.d/a.yaml: the file cannot be read: too many levels of symbolic links"},
		"no folder but a file":    {files: map[string]string{"conf.d": "x"}, want: "conf.d: the folder cannot be read: not a directory"},
		"no folder but a pipe":    {files: map[string]string{"conf.d": "|"}, want: "conf.d: the folder cannot be read: not a directory"},
		"a name with a space":     {files: map[string]string{"conf.d/a b.yaml": ""}, want: "conf.d/a b.yaml: the name of the file has other signs"},
		"a name of line ends":     {files: map[string]string{"conf.d/a\nb.yaml": ""}, want: "\"conf.d/a\\nb.yaml\": the name of the file has other signs"},
		"another ending":          {files: map[string]string{"conf.d/a.yml": ""}, want: "conf.d/a.yml: warning: is not read: its name does not end in .yaml"},
		"too large":               {files: map[string]string{"conf.d/a.yaml": "#" + strings.Repeat(" ", 600<<10), "conf.d/b.yaml": "#" + strings.Repeat(" ", 600<<10)}, want: "conf.d/b.yaml: the configuration and the files of conf.d together are larger than 1MiB"},
		"too much":                {files: map[string]string{"conf.d/a.yaml": "#" + strings.Repeat("-", 40_000), "conf.d/b.yaml": "#" + strings.Repeat("-", 40_000)}, want: "conf.d/b.yaml:1:19"},
		"too many":                {files: numbered(101, ""), want: "conf.d: has more than 100 files that end in .yaml"},
		"many":                    {files: numbered(100, "")},
		"too many keys":           {files: numbered(3, "uplink: {headers: {"+headers(90)+"}}\n"), want: "conf.d/f000.yaml:1:19: uplink.headers: has more than 32\nconf.d/f002.yaml:1:19: uplink.headers: with this file it has more than 200 keys"},
	} {
		files := map[string]string{"f.yaml": siteMain}
		if c.main != "" {
			files["f.yaml"] = c.main
		}
		for n, text := range c.files {
			files[n] = text
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := siteDir(t, files)
			cfg, problems := Load(path, Options{})
			got := strings.ReplaceAll(lines(problems), filepath.Dir(path)+"/", "")
			if (cfg == nil) != HasErrors(problems) {
				t.Errorf("a configuration: %v, with\n%s", cfg != nil, got)
			}
			if c.want == "" && got != "" {
				t.Errorf("unwanted:\n%s", got)
			}
			for i, want := range strings.Split(c.want, "\n") {
				if have := strings.Split(got, "\n"); i >= len(have) || !strings.HasPrefix(have[i], want) {
					t.Errorf("line %d is not %q of\n%s", i, want, got)
				}
			}
			if cfg == nil {
				return
			}
			// The text of all files means what the files mean, and so does that again.
			text, err := ReadSite(path)
			if err != nil || !bytes.Equal(text, cfg.Text()) {
				t.Errorf("%v\n%q\n%q", err, text, cfg.Text())
			}
			again, problems := Parse(path, text, Options{})
			if again == nil || !again.Same(cfg) {
				t.Errorf("the text means something else: %v", problems)
			}
		})
	}
}

// numbered are n files of the folder, each with its number for %d.
func numbered(n int, text string) map[string]string {
	files := map[string]string{}
	for i := range n {
		files[fmt.Sprintf("conf.d/f%03d.yaml", i)] = strings.ReplaceAll(text, "%d", fmt.Sprint(i))
	}
	return files
}

func headers(n int) string {
	var list []string
	for i := range n {
		list = append(list, fmt.Sprintf("x%%d-%d: v", i))
	}
	return strings.Join(list, ", ")
}

// Entries come in the order of the names, whatever the order of the folder.
func TestSiteOrder(t *testing.T) {
	t.Parallel()
	files := numbered(12, "can: [{interface: can1%d}]\ncommands: {points: []}\n")
	files["f.yaml"], files["conf.d/B.yaml"] = siteMain, "can: [{interface: can30}]\n"
	cfg, problems := Load(siteDir(t, files), Options{})
	if cfg == nil {
		t.Fatal(problems)
	}
	var names []string
	for _, c := range cfg.CAN {
		names = append(names, c.Name)
	}
	const want = "can0 can30 can10 can11 can12 can13 can14 can15 can16 can17 can18 can19 can110 can111"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := strings.Join(cfg.DropIns(), " "); !strings.HasPrefix(got, "B.yaml f000.yaml f001.yaml") {
		t.Error(got)
	}
}

// A problem that is found after loading names the file that has the key, and so
// does what everybody can read.
func TestSitePlaces(t *testing.T) {
	t.Parallel()
	path := siteDir(t, map[string]string{"f.yaml": siteMain, "conf.d/a.yaml": siteLine, "conf.d/b.yaml": "# my broker's\nuplink: {password: secret}\n"})
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	cfg, problems := Load(path, Options{})
	if cfg == nil || len(problems) > 0 {
		t.Fatal(problems)
	}
	folder := filepath.Join(filepath.Dir(path), "conf.d")
	p := cfg.Problem("modbus[0].port", "what", "", false)
	if line, file := p.InText(); p.File != folder+"/a.yaml" || p.Line != 3 || line != 7 || file != "conf.d/a.yaml" {
		t.Errorf("%s, %d of %s", p, line, file)
	}
	if p := cfg.Problem("can[0]", "what", "", false); p.File != path || p.Line != 3 {
		t.Error(p)
	}
	if err := os.Chmod(folder+"/b.yaml", 0o644); err != nil {
		t.Fatal(err)
	}
	_, problems = Load(path, Options{})
	if len(problems) != 1 || problems[0].File != folder+"/b.yaml" || problems[0].Line != 2 || !strings.Contains(problems[0].What, "everybody") {
		t.Error(problems)
	}
	var names []string
	for _, f := range cfg.Files() {
		names = append(names, filepath.Base(f.Path))
	}
	if got := strings.Join(names, " "); got != "f.yaml conf.d a.yaml b.yaml" {
		t.Error(got)
	}
}

// A text from somewhere else names no file outside of the folder, and none twice.
func TestSiteText(t *testing.T) {
	t.Parallel()
	for mark, want := range map[string]string{
		"--- # conf.d/../../etc/x.yaml": `/d/f.yaml:4:1: conf.d/../../etc/x.yaml is not the name of a file there`,
		"--- # conf.d/a.yml":            `/d/f.yaml:4:1: conf.d/a.yml is not the name of a file there`,
		"--- # conf.d/.a.yaml":          `/d/f.yaml:4:1: conf.d/.a.yaml is not the name of a file there`,
		"--- # conf.d/a b.yaml":         `/d/f.yaml:4:1: a second document begins`,
		"--- # conf.d/":                 `/d/f.yaml:4:1: a second document begins`,
		" --- # conf.d/a.yaml":          ``,
		"--- # conf.d/a.yaml \r":        ``,
	} {
		_, problems := Parse("/d/f.yaml", []byte(siteMain+mark+"\nlog: {level: warn}\n"), Options{})
		if got := lines(problems); !strings.HasPrefix(got, want) || want == "" && mark[0] == '-' && got != "" {
			t.Errorf("%q: %s, want %s", mark, got, want)
		}
	}
	_, problems := Parse("/d/f.yaml", []byte(siteMain+"--- # conf.d/a.yaml\n--- # conf.d/b.yaml\n\n--- # conf.d/a.yaml\n"), Options{})
	if got := lines(problems); !strings.HasPrefix(got, "/d/conf.d/b.yaml:2:1: conf.d/a.yaml is here twice") {
		t.Error(got)
	}
}
