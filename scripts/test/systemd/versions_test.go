package systemd

import (
	"strings"
	"testing"

	"fieldferry/scripts/test/rig"
)

// lintian has Debian's own judge look at the package.
func (p packages) lintian(t *testing.T) {
	run(t, rig.Need(t, "lintian", "lintian"), "--allow-root", "--fail-on", "error,warning", p.built)
}

// replaced installs another version over the one that runs.
func (l *life) replaced(t *testing.T, deb string) (said string) {
	t.Helper()
	pid, before := l.property(t, "MainPID"), l.guest.sh(t, "sha256sum "+file)
	said = l.apt(t, "install "+deb)
	if after := l.guest.sh(t, "sha256sum "+file); after != before {
		t.Errorf("the operator's file has changed")
	}
	l.guest.sh(t, "dpkg --audit && dpkg -V fieldferry")
	l.again(t, pid)
	return said
}

func (l *life) upgrade(t *testing.T) {
	l.replaced(t, "/root/next.deb")
	l.fine(t)
	if n := l.property(t, "NRestarts"); n != "0" {
		t.Errorf("%s restarts", n)
	}
}

// upgradeWithBrokenFile: somebody has edited the file and not looked whether it
// is right. The gateway reads on with what it has.
func (l *life) upgradeWithBrokenFile(t *testing.T) {
	l.guest.sh(t, "sed -i s/interface:/interfaec:/ "+file)
	l.replaced(t, "/root/built.deb")
	l.outside.more(t)
	l.guest.until(t, "fieldferry status | grep config_rejected")
	l.configure(t, "")
	l.guest.sh(t, "systemctl reload fieldferry")
	l.guest.until(t, "! fieldferry status | grep config_rejected")
	l.well(t)
}

// upgradeRefused: the new program takes neither the file nor its copy of the
// configuration that last ran, which are the same. What runs goes on.
func (l *life) upgradeRefused(t *testing.T) {
	g := l.guest
	pid := l.property(t, "MainPID")
	said := l.apt(t, "install /root/refuses.deb")
	if !strings.Contains(said, "turnaround") || !strings.Contains(said, file+":5:") {
		t.Errorf("the package does not say what its program refuses:\n%s", said)
	}
	g.sh(t, "dpkg --audit")
	l.outside.more(t)
	if now := l.property(t, "MainPID"); now != pid {
		t.Errorf("process %s follows %s", now, pid)
	}
	l.outside.settled(t)
	g.fails(t, "fieldferry check --quiet")
	g.sh(t, "sed -i s/turnaround:.10ms/turnaround:\\ 1ms/ "+file+" && fieldferry check && systemctl restart fieldferry")
	l.again(t, pid)
	l.fine(t)
}

func (l *life) downgrade(t *testing.T) {
	l.outside.broker.Stop()
	l.guest.until(t, "fieldferry status | grep uplink_down")
	said := l.replaced(t, "/root/built.deb")
	if !strings.Contains(said, "going back to") || !strings.Contains(said, "not delivered") {
		t.Errorf("the package does not say what is at stake:\n%s", said)
	}
	l.back(t)
	l.well(t)
}

// remove keeps what is not delivered, and the state of the unit.
func (l *life) remove(t *testing.T) {
	g := l.guest
	l.outside.broker.Stop()
	g.until(t, "fieldferry status | grep uplink_down")
	g.sh(t, "sleep 3")
	if said := l.apt(t, "remove fieldferry"); !strings.Contains(said, "records are not delivered") || !strings.Contains(said, "/var/lib/fieldferry") {
		t.Errorf("the package does not say what stays:\n%s", said)
	}
	g.fails(t, "systemctl is-active fieldferry")
	g.sh(t, "! ls /usr/bin/fieldferry /usr/lib/systemd/system/fieldferry.service && test -e "+file+" && test -d /var/lib/fieldferry")
	l.apt(t, "install /root/built.deb")
	g.until(t, "systemctl is-active fieldferry && systemctl is-enabled fieldferry")
	l.back(t)
	l.well(t)
}

// purge leaves nothing, and what comes after it is another life: its numbers
// are nobody's before.
func (l *life) purge(t *testing.T) {
	g := l.guest
	l.outside.broker.Stop()
	g.until(t, "fieldferry status | grep uplink_down")
	g.sh(t, "sleep 3")
	if said := l.apt(t, "purge fieldferry"); !strings.Contains(said, "deleting /var/lib/fieldferry with ") {
		t.Errorf("the package does not say what it deletes:\n%s", said)
	}
	g.sh(t, "rmdir /var/lib/fieldferry/lost+found && umount /var/lib/fieldferry && rmdir /var/lib/fieldferry")
	left := g.sh(t, "find / -xdev \\( -name '*fieldferry*' -o -path '/etc/fieldferry*' \\) ! -path '/proc/*' ! -path '/root/*' ! -path '/var/log/*' 2>/dev/null || true")
	if left != "" {
		t.Errorf("left behind:\n%s", left)
	}
	g.sh(t, "! systemctl list-units --all --plain --no-legend | grep fieldferry")
	before := l.outside.account(t)
	if err := l.outside.broker.Start(); err != nil {
		t.Fatal(err)
	}
	l.apt(t, "install /root/built.deb")
	g.fails(t, "systemctl is-enabled fieldferry")
	l.configure(t, "")
	g.sh(t, "systemctl start fieldferry")
	l.fine(t)
	l.outside.until(t, "a session that nobody had", func(a *account) bool {
		for s := range a.streams {
			if before.streams[s] == nil {
				return true
			}
		}
		return false
	})
}
