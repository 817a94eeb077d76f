// Package passwd reads the users and groups of this machine from /etc/passwd and
// /etc/group, see passwd(5) and group(5). Those of a directory service are not
// known to it, as they are not to any program without the C library. os/user does
// the same and takes 11 kB more of the binary.
package passwd

import (
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// User is somebody who may log in, or a service.
type User struct {
	Name     string
	UID, GID uint32
}

// Group is a set of users.
type Group struct {
	Name    string
	GID     uint32
	Members []string // by name; those whose own group it is are not among them
}

const (
	users  = "/etc/passwd"
	groups = "/etc/group"
)

// UserNamed returns the user of a name. The error wraps [fs.ErrNotExist] if there
// is none.
func UserNamed(name string) (User, error) {
	return findUser(users, name, func(u User) bool { return u.Name == name })
}

// UserOf returns the user of a number, likewise.
func UserOf(uid uint32) (User, error) {
	return findUser(users, fmt.Sprint(uid), func(u User) bool { return u.UID == uid })
}

// GroupNamed returns the group of a name, likewise.
func GroupNamed(name string) (Group, error) {
	return findGroup(groups, name, func(g Group) bool { return g.Name == name })
}

// GroupOf returns the group of a number, likewise.
func GroupOf(gid uint32) (Group, error) {
	return findGroup(groups, fmt.Sprint(gid), func(g Group) bool { return g.GID == gid })
}

// Groups returns the numbers of all groups of a user, its own first.
func (u User) Groups() []uint32 { return u.groups(groups) }

func (u User) groups(file string) []uint32 {
	list := []uint32{u.GID}
	_, _ = findGroup(file, "", func(g Group) bool { // a file that cannot be read has no more of them
		for _, m := range g.Members {
			if m == u.Name && g.GID != u.GID {
				list = append(list, g.GID)
			}
		}
		return false
	})
	return list
}

func findUser(file, what string, is func(User) bool) (found User, err error) {
	err = find(file, "user "+what, func(row []string) bool { // name:password:UID:GID:comment:directory:shell
		if len(row) < 4 {
			return false
		}
		uid, err1 := strconv.ParseUint(row[2], 10, 32)
		gid, err2 := strconv.ParseUint(row[3], 10, 32)
		u := User{row[0], uint32(uid), uint32(gid)}
		if err1 != nil || err2 != nil || !is(u) {
			return false
		}
		found = u
		return true
	})
	return found, err
}

func findGroup(file, what string, is func(Group) bool) (found Group, err error) {
	err = find(file, "group "+what, func(row []string) bool { // name:password:GID:members
		if len(row) < 4 {
			return false
		}
		gid, err := strconv.ParseUint(row[2], 10, 32)
		g := Group{row[0], uint32(gid), strings.Split(row[3], ",")}
		if err != nil || !is(g) {
			return false
		}
		found = g
		return true
	})
	return found, err
}

// find calls is for each row until it is the one.
func find(file, what string, is func(row []string) bool) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") && is(strings.Split(line, ":")) {
			return nil
		}
	}
	return fmt.Errorf("%s: %w in %s", what, fs.ErrNotExist, file)
}
