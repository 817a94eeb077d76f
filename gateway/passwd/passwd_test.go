package passwd

import (
	"errors"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func put(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFiles(t *testing.T) {
	people := put(t, "# local\nroot:x:0:0:root:/root:/bin/sh\n\nshort:x:5\nbad:x:many:7::/:\nhuge:x:4294967296:7::/:\nferry:x:990:991:,,,:/var:/bin/false\nlast:x:4294967295:1::/:")
	sets := put(t, "root:x:0:\nferry:x:991:ferry\ndialout:x:20:anna,ferry\n+nis\nplugdev:x:46:annabel\nlast:x:47:ferry")
	for name, want := range map[string]User{"root": {"root", 0, 0}, "ferry": {"ferry", 990, 991}, "last": {"last", 1<<32 - 1, 1}} {
		if u, err := userIn(people, name); err != nil || u != want {
			t.Errorf("%s: %+v, %v", name, u, err)
		}
	}
	for _, name := range []string{"", "short", "bad", "huge", "ferr", "#", "# local"} {
		if u, err := userIn(people, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %+v, %v", name, u, err)
		}
	}
	ferry := User{"ferry", 990, 991}
	if got := ferry.groups(sets); !slices.Equal(got, []uint32{991, 20, 47}) {
		t.Errorf("groups %v", got)
	}
	if got := ferry.groups(filepath.Join(t.TempDir(), "none")); !slices.Equal(got, []uint32{991}) {
		t.Errorf("without a file: groups %v", got)
	}
	g, err := findGroup(sets, "dialout", func(g Group) bool { return g.Name == "dialout" })
	if err != nil || g.GID != 20 || !slices.Equal(g.Members, []string{"anna", "ferry"}) {
		t.Errorf("%+v, %v", g, err)
	}
}

func userIn(file, name string) (User, error) {
	return findUser(file, name, func(u User) bool { return u.Name == name })
}

// What it says of this machine is what the standard library says.
func TestThisMachine(t *testing.T) {
	want, err := user.LookupId("0")
	if err != nil {
		t.Skip(err)
	}
	u, err := UserOf(0)
	if err != nil || u.Name != want.Username || strconv.Itoa(int(u.GID)) != want.Gid {
		t.Errorf("%+v, %v, want %+v", u, err, want)
	}
	if again, err := UserNamed(u.Name); err != nil || again != u {
		t.Errorf("%+v, %v", again, err)
	}
	ids, err := want.GroupIds()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, n := range u.Groups() {
		all = append(all, strconv.Itoa(int(n)))
	}
	slices.Sort(ids)
	if slices.Sort(all); !slices.Equal(all, ids) {
		t.Errorf("groups %v, want %v", all, ids)
	}
	g, err := GroupOf(u.GID)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := GroupNamed(g.Name); err != nil || again.GID != g.GID {
		t.Errorf("%+v, %v", again, err)
	}
	if _, err := UserNamed("nobody of that name"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}
