// Package packaged answers what the packaged service may do with a file, so that
// a check made by root finds what the service would stumble over.
//
// # Nouns
//
// A [Service] is the user and the sandbox that the unit gives the daemon. A
// [Tree] is a file system, as far as names, links and modes go.
//
// # Caveats
//
// It judges by owner, group and mode. A file or directory with an access control
// list is taken for open to the service, since the list may be the reason why.
package packaged

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// Unit is the name of the service.
const Unit = "fieldferry"

// dropIn is how somebody changes what the unit allows.
const dropIn = "systemctl edit " + Unit

// Node is one name in a tree.
type Node struct {
	Mode     fs.FileMode
	UID, GID uint32
	Listed   bool   // it has an access control list
	Target   string // of a link
}

// Tree returns what a path names, a link as itself. The error of what is not
// there wraps [fs.ErrNotExist].
type Tree func(path string) (Node, error)

// Service is who the daemon is, and what it sees and may write.
type Service struct {
	User   string
	UID    uint32
	Groups []uint32 // the primary one too
	Hidden []Hidden
	// ReadOnly says that nothing but Writable can be written.
	ReadOnly bool
	Writable []string
	State    string // the service's own directory, made by systemd
}

// Hidden is a directory that the service does not see, and the line of the
// unit that hides it.
type Hidden struct{ Dir, Why string }

// Trouble is why a path is of no use to the service, and what to do. Its zero
// value is none.
type Trouble struct{ What, Fix string }

// errLoop is that of a path with too many links.
var errLoop = errors.New("too many links")

// Readable says why the service could not read a file or list a directory.
func (s *Service) Readable(tree Tree, file string) Trouble {
	at, node, trouble := s.reach(tree, file)
	if trouble != (Trouble{}) {
		return trouble
	}
	if node.Mode == 0 {
		return Trouble{} // it is missing for everybody
	}
	need, fix := fs.FileMode(4), fmt.Sprintf("chgrp %s %s && chmod g+r %s", s.User, at, at)
	if node.Mode.IsDir() {
		need, fix = 5, fmt.Sprintf("chgrp %s %s && chmod g+rx %s", s.User, at, at)
	}
	if !s.may(node, need) {
		return Trouble{fmt.Sprintf("the user %s may not read %s (%s)", s.User, at, owned(node)), fix}
	}
	return Trouble{}
}

// Device says why the service could not open a device.
func (s *Service) Device(tree Tree, file string) Trouble {
	at, node, trouble := s.reach(tree, file)
	if trouble != (Trouble{}) || node.Mode == 0 || s.may(node, 6) {
		return trouble
	}
	return Trouble{fmt.Sprintf("the user %s may not open %s (%s)", s.User, at, owned(node)),
		fmt.Sprintf("add the device's group: %s and write [Service] and SupplementaryGroups=GROUP", dropIn)}
}

// Keeps says why the service could not keep its buffer in a directory, which
// need not exist yet.
func (s *Service) Keeps(tree Tree, dir string) Trouble {
	at, node, trouble := s.reach(tree, dir)
	if trouble != (Trouble{}) {
		return trouble
	}
	if s.State != "" && below(at, s.State) && !exists(tree, s.State) {
		return Trouble{} // systemd makes it
	}
	if s.ReadOnly && !slices.ContainsFunc(s.Writable, func(w string) bool { return below(at, real(tree, w)) }) {
		return Trouble{fmt.Sprintf("%s is read-only for the service %s, which writes below %s only", at, Unit, s.State),
			fmt.Sprintf("use a directory below %s, or %s and write [Service] and ReadWritePaths=%s", s.State, dropIn, at)}
	}
	have := at
	for node.Mode == 0 { // it does not exist: the first one above that does has to let it be made
		parent := path.Dir(have)
		if _, node, trouble = s.reach(tree, parent); trouble != (Trouble{}) {
			return trouble
		}
		have = parent
	}
	if !s.may(node, 7) {
		return Trouble{fmt.Sprintf("the user %s may not write to %s (%s)", s.User, have, owned(node)),
			fmt.Sprintf("mkdir -p %s && chown %s: %s", at, s.User, at)}
	}
	return Trouble{}
}

// reach follows a path as the service would. What is missing is no trouble of
// the service: its node is empty, and at has where it would be.
func (s *Service) reach(tree Tree, file string) (at string, node Node, t Trouble) {
	at, left := "/", strings.Split(path.Clean(file), "/")
	for links := 0; ; {
		for len(left) > 0 && (left[0] == "" || left[0] == ".") {
			left = left[1:]
		}
		if t := s.hidden(at); t != (Trouble{}) {
			return at, node, t
		}
		var err error
		if node, err = tree(at); err != nil {
			return path.Join(append([]string{at}, left...)...), Node{}, Trouble{}
		}
		if node.Mode&fs.ModeSymlink != 0 {
			if links++; links > 40 {
				return at, node, Trouble{fmt.Sprintf("%s cannot be followed: %v", file, errLoop), "name the file itself"}
			}
			left = append(strings.Split(node.Target, "/"), left...)
			if at = path.Dir(at); path.IsAbs(node.Target) {
				at = "/"
			}
			continue
		}
		if len(left) == 0 {
			return at, node, Trouble{}
		}
		if !node.Mode.IsDir() {
			return path.Join(append([]string{at}, left...)...), Node{}, Trouble{}
		}
		if !s.may(node, 1) {
			return at, node, Trouble{fmt.Sprintf("the user %s may not enter %s (%s), on the way to %s", s.User, at, owned(node), file),
				fmt.Sprintf("chgrp %s %s && chmod g+x %s, or put the file elsewhere", s.User, at, at)}
		}
		at, left = path.Join(at, left[0]), left[1:]
	}
}

func (s *Service) hidden(at string) Trouble {
	for _, h := range s.Hidden {
		if below(at, h.Dir) && !slices.ContainsFunc(s.Writable, func(w string) bool { return w != h.Dir && below(w, h.Dir) && (below(at, w) || below(w, at)) }) {
			return Trouble{fmt.Sprintf("the service %s does not see %s (%s)", Unit, at, h.Why), "put it elsewhere, such as below /etc/fieldferry"}
		}
	}
	return Trouble{}
}

// may says whether the service has the rights (4 read, 2 write, 1 enter). As in
// path_resolution(7), the owner has the owner's rights only.
func (s *Service) may(n Node, need fs.FileMode) bool {
	switch {
	case n.Listed || s.UID == 0:
		return true
	case n.UID == s.UID:
		return n.Mode>>6&need == need
	case slices.Contains(s.Groups, n.GID):
		return n.Mode>>3&need == need
	default:
		return n.Mode&need == need
	}
}

func owned(n Node) string {
	return fmt.Sprintf("mode %04o, owner %d, group %d", n.Mode.Perm(), n.UID, n.GID)
}

func below(at, dir string) bool {
	return dir == "/" || at == dir || strings.HasPrefix(at, dir+"/")
}

func exists(tree Tree, dir string) bool {
	_, err := tree(dir)
	return err == nil
}

// real is where a directory is, links followed.
func real(tree Tree, dir string) string {
	everything := Service{}
	at, _, _ := everything.reach(tree, dir)
	return at
}
