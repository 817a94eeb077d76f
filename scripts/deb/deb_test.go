package deb

import (
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const root = "../.."

// need skips the test when a program is missing, except where everything has
// to be there.
func need(t *testing.T, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%s is missing", program)
		}
		t.Skipf("%s is missing", program)
	}
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	b, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, b)
	}
	return string(b)
}

// packages returns the packages to look at by architecture: those in the
// directory FIELDFERRY_DEBS, which are complete, or packages of a program
// that stands for fieldferry, which show the recipe.
func packages(t *testing.T) (debs map[string]string, complete bool) {
	t.Helper()
	need(t, "dpkg-deb")
	dir := os.Getenv("FIELDFERRY_DEBS")
	complete = dir != ""
	archs := []string{"armhf", "arm64", "amd64"}
	if !complete {
		dir = t.TempDir()
		for _, a := range archs {
			output(t, "./build", a, os.Args[0], dir)
		}
	}
	debs = map[string]string{}
	for _, a := range archs {
		match, err := filepath.Glob(filepath.Join(dir, "fieldferry_*_"+a+".deb"))
		if err != nil || len(match) != 1 {
			t.Fatalf("packages for %s in %s: %q, error %v; want one", a, dir, match, err)
		}
		debs[a] = match[0]
	}
	return debs, complete
}

func TestPackages(t *testing.T) {
	debs, complete := packages(t)
	for arch, deb := range debs {
		t.Run(arch, func(t *testing.T) {
			field := func(name string) string { return strings.TrimSpace(output(t, "dpkg-deb", "-f", deb, name)) }
			if field("Package") != "fieldferry" || field("Architecture") != arch {
				t.Errorf("package %q for %q", field("Package"), field("Architecture"))
			}
			if v := field("Version"); exec.Command("dpkg", "--validate-version", v).Run() != nil {
				t.Errorf("version %q is none", v)
			}
			dir := t.TempDir()
			output(t, "dpkg-deb", "-R", deb, dir)
			checkContents(t, deb, dir)
			if complete {
				checkBinary(t, arch, filepath.Join(dir, "usr/bin/fieldferry"))
			}
		})
	}
}

// checkContents looks at a package unpacked into dir.
func checkContents(t *testing.T, deb, dir string) {
	t.Helper()
	var got []string
	for line := range strings.Lines(output(t, "dpkg-deb", "-c", deb)) {
		f := strings.Fields(line) // mode owner size date time path
		if !strings.HasSuffix(f[5], "/") || strings.HasPrefix(f[5], "./etc/fieldferry") {
			got = append(got, f[0]+" "+f[1]+" "+strings.TrimPrefix(f[5], "."))
		}
	}
	for _, want := range []string{
		"-rw-r--r-- root/root /usr/lib/systemd/system/fieldferry.service",
		"-rw-r--r-- root/root /usr/lib/sysusers.d/fieldferry.conf",
		"-rw-r--r-- root/root /usr/lib/sysctl.d/50-fieldferry.conf",
		"-rw-r--r-- root/root /usr/share/fieldferry/fieldferry.yaml",
		"-rw-r--r-- root/root /usr/share/fieldferry/default",
		"-rw-r--r-- root/root /usr/share/doc/fieldferry/CHANGELOG.md",
		"-rw-r--r-- root/root /usr/share/doc/fieldferry/README.md",
		"-rw-r--r-- root/root /usr/share/doc/fieldferry/copyright",
		"-rw-r--r-- root/root /usr/share/doc/fieldferry/docs/CONFIGURATION.md",
		"-rw-r--r-- root/root /usr/share/doc/fieldferry/examples/fieldferry.yaml",
		"-rw-r--r-- root/root /usr/share/man/man1/fieldferry.1.gz",
		"-rw-r--r-- root/root /usr/share/man/man1/fieldferry-modbus-read.1.gz",
		"-rw-r--r-- root/root /usr/share/bash-completion/completions/fieldferry",
		"-rw-r--r-- root/root /usr/share/zsh/vendor-completions/_fieldferry",
		"-rw-r--r-- root/root /usr/share/fish/vendor_completions.d/fieldferry.fish",
		"-rwxr-xr-x root/root /usr/bin/fieldferry",
		"drwxr-x--- root/root /etc/fieldferry/",
	} {
		if !slices.Contains(got, want) {
			t.Errorf("the package lacks %s", want)
		}
	}
	// A conffile is what dpkg asks about in the middle of an upgrade.
	if b, err := os.ReadFile(filepath.Join(dir, "DEBIAN/conffiles")); err == nil && len(strings.TrimSpace(string(b))) > 0 {
		t.Errorf("dpkg would ask about %q", b)
	}
	checkLinks(t, filepath.Join(dir, "usr/share/doc/fieldferry"))
	checkNotices(t, filepath.Join(dir, "usr/bin/fieldferry"), filepath.Join(dir, "usr/share/doc/fieldferry/copyright"))
	for _, script := range []string{"postinst", "prerm", "postrm"} {
		path := filepath.Join(dir, "DEBIAN", script)
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("%s: %v, error %v", script, st, err)
		}
		output(t, "sh", "-n", path)
	}
	// The unit must start what the package installs.
	unit, err := os.ReadFile(filepath.Join(dir, "usr/lib/systemd/system/fieldferry.service"))
	if err != nil || !strings.Contains(string(unit), "\nExecStart=/usr/bin/fieldferry run -c /etc/fieldferry/fieldferry.yaml $FIELDFERRY_OPTS\n") {
		t.Errorf("the unit does not start /usr/bin/fieldferry with the default configuration; error %v", err)
	}
}

// checkBinary makes sure that a binary runs wherever its package installs.
func checkBinary(t *testing.T, arch, path string) {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	machine := map[string]elf.Machine{"armhf": elf.EM_ARM, "arm64": elf.EM_AARCH64, "amd64": elf.EM_X86_64}[arch]
	if f.Machine != machine {
		t.Errorf("the binary is for %v", f.Machine)
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			t.Error("the binary is linked dynamically")
		}
	}
	info := output(t, "go", "version", "-m", path)
	if arch == "armhf" && !strings.Contains(info, "GOARM=6") {
		t.Errorf("the armhf binary does not run on ARMv6:\n%s", info)
	}
}

// TestMaintainerScriptsFollowThePolicy: a package must survive every way dpkg calls it.
func TestMaintainerScriptsFollowThePolicy(t *testing.T) {
	for _, c := range []struct {
		script string
		args   []string
	}{
		// What dpkg calls on failures must do nothing and succeed (Debian Policy 6.5).
		{"postinst", []string{"abort-upgrade", "1.0"}},
		{"postinst", []string{"abort-remove"}},
		{"prerm", []string{"upgrade", "2.0"}},
		{"prerm", []string{"failed-upgrade", "1.0"}},
	} {
		t.Run(c.script+" "+c.args[0], func(t *testing.T) {
			cmd := exec.Command("sh", append([]string{"-x", c.script}, c.args...)...)
			b, err := cmd.CombinedOutput()
			if err != nil || strings.Contains(string(b), "systemctl") || strings.Contains(string(b), "sysusers") {
				t.Errorf("error %v:\n%s", err, b)
			}
		})
	}
}

// TestUnit has systemd itself judge the unit.
func TestUnit(t *testing.T) {
	need(t, "systemd-analyze")
	unit := filepath.Join(t.TempDir(), "fieldferry.service")
	b, err := os.ReadFile(root + "/systemd/fieldferry.service")
	if err != nil {
		t.Fatal(err)
	}
	// systemd wants the program of a unit to exist.
	if err := os.WriteFile(unit, []byte(strings.ReplaceAll(string(b), "=/usr/bin/fieldferry ", "=/bin/true ")), 0o644); err != nil {
		t.Fatal(err)
	}
	// Man pages are not checked: minimal systems have none.
	verify, err := exec.Command("systemd-analyze", "verify", "--man=no", unit).CombinedOutput()
	if err != nil || strings.Contains(string(verify), "fieldferry.service") {
		t.Errorf("systemd-analyze verify: %v\n%s", err, verify)
	}
	// The threshold is ten times the exposure: at most 2.0.
	security, err := exec.Command("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, security)
	}
}

func TestSysusers(t *testing.T) {
	need(t, "systemd-sysusers")
	file, err := filepath.Abs(root + "/systemd/fieldferry.sysusers")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() // a root without users: the file has to create all it needs
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := exec.Command("systemd-sysusers", "--root="+dir, "--replace=/usr/lib/sysusers.d/fieldferry.conf", file).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		t.Fatalf("systemd-sysusers: %v\n%s", err, b)
	}
	for name, want := range map[string]string{"etc/passwd": "fieldferry:", "etc/group": "dialout:"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s does not have %s; error %v; systemd-sysusers said\n%s", name, want, err, b)
		}
	}
}
