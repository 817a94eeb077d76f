package packaged

import (
	"io/fs"
	"os"
	"strings"
	"syscall"

	"fieldferry/gateway/passwd"

	"golang.org/x/sys/unix"
)

// Properties are those of the unit that [Of] asks for.
const Properties = "LoadState,User,SupplementaryGroups,StateDirectory,ReadWritePaths,BindPaths,ProtectHome,PrivateTmp,ProtectSystem"

// Defaults is what the packaged unit says, in the form of systemctl show; it
// stands for a unit that cannot be asked.
const Defaults = "User=fieldferry\nSupplementaryGroups=dialout\nStateDirectory=fieldferry\nProtectHome=yes\nPrivateTmp=yes\nProtectSystem=strict\n"

// Of returns the service as the output of systemctl show --property
// [Properties] has it, with what drop-ins have changed. A unit that is not
// loaded is taken for the packaged one. name, if not empty, is the user instead.
func Of(show, name string) (*Service, error) {
	p := parse(show)
	if p["LoadState"] != "loaded" {
		p = parse(Defaults)
	}
	if name == "" {
		name = p["User"]
	}
	s := &Service{User: name}
	u, err := passwd.UserNamed(name)
	if err != nil {
		return nil, err
	}
	s.UID, s.Groups = u.UID, u.Groups()
	for _, extra := range strings.Fields(p["SupplementaryGroups"]) {
		if g, err := passwd.GroupNamed(extra); err == nil {
			s.Groups = append(s.Groups, g.GID)
		}
	}
	s.sandbox(p)
	return s, nil
}

func parse(show string) map[string]string {
	p := map[string]string{}
	for line := range strings.Lines(show) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			p[key] = value
		}
	}
	return p
}

// sandbox takes what systemd.exec(5) lets the service see.
func (s *Service) sandbox(p map[string]string) {
	if p["ProtectHome"] == "yes" || p["ProtectHome"] == "tmpfs" {
		for _, dir := range []string{"/home", "/root", "/run/user"} {
			s.Hidden = append(s.Hidden, Hidden{dir, "ProtectHome=" + p["ProtectHome"]})
		}
	}
	if p["PrivateTmp"] == "yes" || p["PrivateTmp"] == "disconnected" {
		for _, dir := range []string{"/tmp", "/var/tmp"} {
			s.Hidden = append(s.Hidden, Hidden{dir, "PrivateTmp=" + p["PrivateTmp"]})
		}
	}
	s.ReadOnly = p["ProtectSystem"] == "strict"
	for i, dir := range strings.Fields(p["StateDirectory"]) {
		dir, _, _ = strings.Cut(dir, ":")
		s.Writable = append(s.Writable, "/var/lib/"+dir)
		if i == 0 {
			s.State = "/var/lib/" + dir
		}
	}
	for _, path := range strings.Fields(p["ReadWritePaths"]) {
		s.Writable = append(s.Writable, strings.TrimLeft(path, "-+"))
	}
	for _, bind := range strings.Fields(p["BindPaths"]) { // SOURCE[:DESTINATION[:OPTIONS]]
		parts := strings.Split(strings.TrimPrefix(bind, "-"), ":")
		s.Writable = append(s.Writable, parts[min(1, len(parts)-1)])
	}
}

// Here is the tree of this machine.
func Here(path string) (Node, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return Node{}, err
	}
	n := Node{Mode: info.Mode()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		n.UID, n.GID = st.Uid, st.Gid
	}
	if n.Mode&fs.ModeSymlink != 0 {
		n.Target, err = os.Readlink(path)
		return n, err
	}
	size, err := unix.Lgetxattr(path, "system.posix_acl_access", nil)
	n.Listed = err == nil && size > 0
	return n, nil
}
