package packaged

import (
	"io/fs"
	"strings"
	"testing"
)

// tree is one that a test makes up: path, mode, owner, group; or a link.
type tree map[string]Node

func (t tree) get(path string) (Node, error) {
	n, ok := t[path]
	if !ok {
		return Node{}, fs.ErrNotExist
	}
	return n, nil
}

const (
	daemon, dialout, other = 990, 20, 1000
	dir                    = fs.ModeDir
	link                   = fs.ModeSymlink
)

func made() tree {
	return tree{
		"/":                    {Mode: dir | 0o755},
		"/etc":                 {Mode: dir | 0o755},
		"/etc/ff":              {Mode: dir | 0o750, GID: daemon},
		"/etc/ff/good":         {Mode: 0o640, GID: daemon},
		"/etc/ff/serial":       {Mode: 0o640, GID: dialout},
		"/etc/ff/root":         {Mode: 0o600},
		"/etc/ff/all":          {Mode: 0o644},
		"/etc/ff/owner":        {Mode: 0o044, UID: daemon, GID: daemon},
		"/etc/ff/group":        {Mode: 0o604, GID: daemon},
		"/etc/ff/listed":       {Mode: 0o600, Listed: true},
		"/etc/ff/tohome":       {Mode: link | 0o777, Target: "/home/a/x.dbc"},
		"/etc/ff/up":           {Mode: link | 0o777, Target: "../ff/./good"},
		"/etc/ff/loop":         {Mode: link | 0o777, Target: "loop"},
		"/etc/ff/parts":        {Mode: dir | 0o710, GID: daemon},
		"/etc/closed":          {Mode: dir | 0o700},
		"/etc/closed/in":       {Mode: dir | 0o755},
		"/etc/closed/in/x":     {Mode: 0o644},
		"/home":                {Mode: dir | 0o755},
		"/home/a":              {Mode: dir | 0o755},
		"/home/a/x.dbc":        {Mode: 0o644},
		"/tmp":                 {Mode: dir | fs.ModeSticky | 0o777},
		"/tmp/x":               {Mode: 0o644},
		"/opt":                 {Mode: dir | 0o755},
		"/opt/house":           {Mode: link | 0o777, Target: "../home/a"},
		"/var":                 {Mode: dir | 0o755},
		"/var/lib":             {Mode: dir | 0o755},
		"/var/lib/ff":          {Mode: dir | 0o700, UID: daemon, GID: daemon},
		"/var/lib/ff/old":      {Mode: dir | 0o700},
		"/data":                {Mode: dir | 0o755},
		"/data/mine":           {Mode: dir | 0o700, UID: daemon},
		"/data/theirs":         {Mode: dir | 0o755, UID: other},
		"/run":                 {Mode: dir | 0o755},
		"/run/user":            {Mode: dir | 0o755},
		"/run/user/1000":       {Mode: dir | 0o755},
		"/run/user/1000/x":     {Mode: 0o644},
		"/homework":            {Mode: dir | 0o755},
		"/homework/x":          {Mode: 0o644},
		"/var/lib/ff/tohome":   {Mode: link | 0o777, Target: "/home/a"},
		"/var/lib/ff/elsewere": {Mode: link | 0o777, Target: "/data/mine"},
	}
}

func service() *Service {
	s := &Service{User: "ff", UID: daemon, Groups: []uint32{daemon, dialout}}
	s.sandbox(parse("StateDirectory=ff\nProtectHome=yes\nPrivateTmp=yes\nProtectSystem=strict\nReadWritePaths=-/data/mine\n"))
	return s
}

func TestReadable(t *testing.T) {
	for file, want := range map[string]string{
		"/etc/ff/good":      "",
		"/etc/ff/serial":    "",
		"/etc/ff/all":       "",
		"/etc/ff/listed":    "",
		"/etc/ff/up":        "",
		"/etc/ff/missing":   "",
		"/homework/x":       "",
		"/etc/ff/root":      "may not read /etc/ff/root (mode 0600, owner 0, group 0)",
		"/etc/ff/owner":     "may not read", // the owner has the owner's rights only
		"/etc/ff/group":     "may not read", // and so has the group
		"/etc/ff/parts":     "may not read /etc/ff/parts",
		"/etc/ff/loop":      "cannot be followed",
		"/etc/closed/in/x":  "may not enter /etc/closed (",
		"/home/a/x.dbc":     "does not see /home (ProtectHome=yes)",
		"/etc/ff/tohome":    "does not see /home",
		"/opt/house/x.dbc":  "does not see /home",
		"/root/x":           "does not see /root",
		"/run/user/1000/x":  "does not see /run/user",
		"/tmp/x":            "does not see /tmp (PrivateTmp=yes)",
		"/etc/../home/a/ab": "does not see /home",
	} {
		got := service().Readable(made().get, file)
		if want == "" && got != (Trouble{}) || want != "" && (!strings.Contains(got.What, want) || got.Fix == "") {
			t.Errorf("%s: %+v, want %q", file, got, want)
		}
	}
}

func TestKeeps(t *testing.T) {
	for path, want := range map[string]string{
		"/var/lib/ff":           "",
		"/var/lib/ff/new/dir":   "",
		"/var/lib/ff/elsewere":  "",
		"/data/mine":            "",
		"/data/mine/b":          "",
		"/var/lib/ff/old":       "may not write to /var/lib/ff/old",
		"/var/lib/ff/old/new":   "may not enter /var/lib/ff/old",
		"/var/lib/fft":          "read-only for the service",
		"/data/theirs":          "read-only for the service",
		"/data/new":             "read-only for the service",
		"/srv/new":              "read-only for the service",
		"/home/a/buffer":        "does not see /home",
		"/var/lib/ff/tohome/b":  "does not see /home",
		"/var/lib/ff/../buffer": "read-only for the service",
	} {
		got := service().Keeps(made().get, path)
		if want == "" && got != (Trouble{}) || want != "" && !strings.Contains(got.What, want) {
			t.Errorf("%s: %+v, want %q", path, got, want)
		}
		if strings.HasPrefix(want, "read-only") && (!strings.Contains(got.Fix, "ReadWritePaths=") || !strings.Contains(got.Fix, "systemctl edit fieldferry")) {
			t.Errorf("%s: %q names no drop-in", path, got.Fix)
		}
	}
	// Before the first start there is no state directory.
	fresh := made()
	delete(fresh, "/var/lib/ff")
	if got := service().Keeps(fresh.get, "/var/lib/ff/buffer"); got != (Trouble{}) {
		t.Errorf("%+v", got)
	}
	// Without the sandbox the modes decide.
	s := service()
	s.ReadOnly = false
	if got := s.Keeps(made().get, "/data/theirs"); !strings.Contains(got.What, "may not write to /data/theirs") {
		t.Errorf("%+v", got)
	}
}

// A drop-in is heeded.
func TestUnit(t *testing.T) {
	const show = "LoadState=loaded\nUser=root\nSupplementaryGroups=\nStateDirectory=fieldferry\nReadWritePaths=-/data +/mnt/card\nBindPaths=/srv/a:/b:rbind\nProtectHome=no\nPrivateTmp=no\nProtectSystem=strict\n"
	s, err := Of(show, "")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Hidden) != 0 || s.User != "root" || strings.Join(s.Writable, " ") != "/var/lib/fieldferry /data /mnt/card /b" {
		t.Errorf("%+v", s)
	}
	s, err = Of("LoadState=not-found\nUser=\n", "root")
	if err != nil || len(s.Hidden) != 5 || !s.ReadOnly || s.State != "/var/lib/fieldferry" {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := Of("", "nobody-of-that-name"); err == nil {
		t.Error("a user who does not exist")
	}
}
