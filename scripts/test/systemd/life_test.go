package systemd

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	file   = "/etc/fieldferry/fieldferry.yaml"
	folder = "/etc/fieldferry/conf.d"
)

// life is one gateway from its installation on.
type life struct {
	guest   *guest
	outside *outside
	debs    packages
}

// A step begins where the one before it ends.
type step struct {
	name string
	run  func(*life, *testing.T)
}

// TestLives takes gateways through what happens to them in the field, and with
// their package. They live side by side: one often waits.
func TestLives(t *testing.T) {
	if os.Getenv("INSTALL_TEST") == "" {
		t.Skip("it takes minutes, root and a Debian; make install-test runs it")
	}
	debs := makePackages(t)
	for name, steps := range map[string][]step{
		"field": {
			{"install", (*life).install},
			{"start without bus and broker", (*life).startAsInstalled},
			{"start of a site", (*life).start},
			{"sentence and hardening", (*life).sentence},
			{"reload", (*life).reload},
			{"kill -9", (*life).kill},
			{"watchdog", (*life).watchdog},
			{"outage with stop, start, and kill -9", (*life).outage},
			{"reboot", (*life).reboot},
			{"sysrq-b", (*life).crash},
			{"power cut in an outage", (*life).cut},
		},
		"package": {
			{"install", (*life).install},
			{"start of a site", (*life).start},
			{"disk of its own with an error", (*life).disk},
			{"upgrade", (*life).upgrade},
			{"change of version with a broken file", (*life).upgradeWithBrokenFile},
			{"upgrade to a version that refuses the file", (*life).upgradeRefused},
			{"downgrade in an outage", (*life).downgrade},
			{"remove and install again", (*life).remove},
			{"purge and install again", (*life).purge},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &life{guest: newGuest(t), outside: newOutside(t), debs: debs}
			l.guest.boot(t)
			for _, s := range steps {
				l.take(t, s)
			}
		})
	}
	t.Run("lintian", func(t *testing.T) {
		t.Parallel()
		debs.lintian(t)
	})
}

func (l *life) take(t *testing.T, s step) {
	began := time.Now()
	ok := t.Run(s.name, func(t *testing.T) { s.run(l, t) })
	t.Logf("%s: %.0f s", s.name, time.Since(began).Seconds())
	if !ok {
		t.Logf("journal at the end of %q:\n%s", s.name, l.journal())
	}
}

// journal is the end of what the service has said, for whoever reads a failure.
func (l *life) journal() string {
	out, _ := l.guest.run(nil, "journalctl -u fieldferry -n 40 --no-pager -o short-monotonic")
	return out
}

// configure writes the file of the site, as somebody edits it.
func (l *life) configure(t *testing.T, more string) {
	t.Helper()
	l.guest.write(t, file, fmt.Sprintf(`# edited
gateway: {id: gw, clock: trusted}
can: [{interface: vcan0, name: can}]
modbus:
  - {name: line, port: /dev/ttyS1, baud_rate: 115200, timeout: 2s, turnaround: 10ms, devices: [
      {name: meter, unit_id: 1, interval: 1s, registers: [{name: n, register: input, address: 0, type: uint32}]}]}
buffer: {path: /var/lib/fieldferry, sync_interval: 1s}
uplink: {servers: ["mqtt://10.0.2.2:%d"]}
%s
`, l.outside.broker.Port, more))
}

func (l *life) property(t *testing.T, name string) string {
	t.Helper()
	return l.guest.sh(t, "systemctl show -P "+name+" fieldferry")
}

// again waits until the service runs in another process than pid.
func (l *life) again(t *testing.T, pid string) {
	t.Helper()
	l.guest.until(t, "p=$(systemctl show -P MainPID fieldferry); [ $p != 0 ] && [ $p != "+pid+" ] && systemctl is-active fieldferry")
}

// well looks at a gateway that has nothing to complain about: records of both
// buses come, and nothing is missing.
func (l *life) well(t *testing.T) {
	t.Helper()
	l.outside.more(t)
	l.outside.settled(t)
	l.guest.until(t, "systemctl show -P StatusText fieldferry | grep '^Everything works'")
}

// fine is well, and no error is in the log since the service started.
func (l *life) fine(t *testing.T) {
	t.Helper()
	l.well(t)
	if out := l.guest.sh(t, "journalctl -p err -q -o cat _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID fieldferry)"); out != "" {
		t.Errorf("errors in the journal:\n%s", out)
	}
}

func (l *life) apt(t *testing.T, args string) string {
	t.Helper()
	return l.guest.sh(t, "DEBIAN_FRONTEND=noninteractive apt-get -q -y --allow-downgrades "+args+" < /dev/null 2>&1")
}

func (l *life) install(t *testing.T) {
	g := l.guest
	g.write(t, "/etc/systemd/network/vcan0.netdev", "[NetDev]\nName=vcan0\nKind=vcan\n")
	g.write(t, "/etc/systemd/network/vcan0.network", "[Match]\nName=vcan0\n")
	g.write(t, "/etc/systemd/system/frames.service", "[Service]\nExecStart=/usr/bin/cangen vcan0 -g 100 -I 100 -L 8 -D i\nRestart=always\nRestartSec=1\n[Install]\nWantedBy=multi-user.target\n")
	g.copy(t, l.debs.built, "/root/built.deb")
	g.copy(t, l.debs.next, "/root/next.deb")
	g.copy(t, l.debs.refuses, "/root/refuses.deb")
	l.apt(t, "install /root/built.deb")
	g.fails(t, "systemctl is-active fieldferry")
	g.fails(t, "systemctl is-enabled fieldferry")
	g.sh(t, "dpkg --audit && dpkg -V fieldferry")
	if got := g.sh(t, "stat -c '%A %U %G %n' /etc/fieldferry "+folder+" "+file+" /etc/default/fieldferry"); got != "drwxr-x--- root fieldferry /etc/fieldferry\ndrwxr-x--- root fieldferry "+folder+"\n-rw-r----- root fieldferry "+file+"\n-rw------- root root /etc/default/fieldferry" {
		t.Errorf("files of the operator:\n%s", got)
	}
	if got := g.sh(t, "sysctl -n net.core.rmem_max"); got != "4194304" {
		t.Errorf("net.core.rmem_max is %s", got)
	}
}

// startAsInstalled: no can0, no broker, nothing edited.
func (l *life) startAsInstalled(t *testing.T) {
	g := l.guest
	g.sh(t, "fieldferry check && systemctl start fieldferry")
	lines := func() int {
		n, err := strconv.Atoi(g.sh(t, "journalctl -u fieldferry -q -o cat _COMM=fieldferry | wc -l"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	woken := func() int {
		n, err := strconv.Atoi(g.sh(t, "cat /proc/$(systemctl show -P MainPID fieldferry)/task/*/status | awk '/voluntary_ctxt/{n += $2} END {print n}'"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	g.sh(t, "sleep 20")
	first, before := lines(), woken()
	g.sh(t, "sleep 30")
	if n := lines(); first > 12 || n > first+2 {
		t.Errorf("%d lines in the journal, and %d a while later", first, n)
	}
	// Whoever turns in circles is woken thousands of times; a share of the
	// processor would measure how busy the host is.
	n := woken() - before
	t.Logf("%d lines; %.0f turns of its threads a second", first, float64(n)/30)
	if n > 30*100 {
		t.Errorf("with nothing to do its threads came to turn %d times in 30 s", n)
	}
	g.sh(t, "systemctl is-active fieldferry")
	g.sh(t, "systemctl stop fieldferry")

	// With nothing to run it stays up, quietly, and a mended file is enough.
	g.sh(t, "mv "+file+" /root/as-installed && rm -r /var/lib/fieldferry/config && systemctl start fieldferry")
	g.until(t, "systemctl show -P StatusText fieldferry | grep 'Nothing runs'")
	g.fails(t, "systemctl reload fieldferry")
	first = lines()
	g.sh(t, "sleep 20")
	if n := lines(); n != first || l.property(t, "NRestarts") != "0" {
		t.Errorf("with nothing to run, %d lines and then %d in the journal, %s restarts", first, n, l.property(t, "NRestarts"))
	}
	g.sh(t, "mv /root/as-installed "+file)
	g.until(t, "fieldferry status")
	g.sh(t, "systemctl stop fieldferry")
}

func (l *life) start(t *testing.T) {
	l.guest.sh(t, "networkctl reload && systemctl daemon-reload")
	l.guest.until(t, "ip link show vcan0 up | grep vcan0")
	l.guest.sh(t, "systemctl enable --now frames")
	l.guest.slave()
	l.configure(t, "")
	l.guest.sh(t, "fieldferry check --quiet && systemctl enable --now fieldferry")
	l.fine(t)
	if out := l.guest.sh(t, "journalctl -u fieldferry -p warning -q -o cat | grep -i 'receive buffer' || true"); out != "" {
		t.Errorf("the package sets net.core.rmem_max, and yet:\n%s", out)
	}
}

func (l *life) sentence(t *testing.T) {
	text := l.property(t, "StatusText")
	t.Log(text)
	if out := l.guest.sh(t, "systemctl status fieldferry --no-pager"); !strings.Contains(out, text) {
		t.Errorf("systemctl status:\n%s", out)
	}
	if out := l.guest.sh(t, "fieldferry status"); !strings.Contains(out, text) {
		t.Errorf("fieldferry status does not begin with %q:\n%s", text, out)
	}
	l.guest.sh(t, "systemd-analyze security --no-pager --threshold=20 fieldferry")
	l.guest.sh(t, "setpriv --reuid=nobody --regid=nogroup --clear-groups sh -c '! cat "+file+" && ! ls /var/lib/fieldferry' 2>&1")
}

func (l *life) reload(t *testing.T) {
	g := l.guest
	pid, session := l.property(t, "MainPID"), l.outside.account(t).newest()
	l.configure(t, "# a comment costs no session")
	g.sh(t, "systemctl reload fieldferry")
	l.outside.more(t)
	if now := l.outside.account(t).newest(); now != session {
		t.Errorf("after a new comment session %d follows %d", now, session)
	}
	l.configure(t, "# another interval\n")
	g.sh(t, "sed -i s/sync_interval:.1s/sync_interval:\\ 500ms/ "+file+" && systemctl reload fieldferry")
	l.outside.until(t, "another session", func(a *account) bool { return a.newest() != session })
	session = l.outside.account(t).newest()
	l.well(t)

	g.write(t, file, "can: [{interface: vcan0, bitrte: 1}]\n")
	out := g.fails(t, "systemctl reload fieldferry")
	t.Log(out)
	g.sh(t, "systemctl is-active fieldferry")
	g.until(t, "fieldferry status | grep config_rejected")
	g.until(t, "systemctl show -P StatusText fieldferry | grep 'new configuration not taken'")
	l.outside.more(t)
	if now := l.outside.account(t).newest(); now != session {
		t.Errorf("after a broken file session %d follows %d", now, session)
	}
	l.configure(t, "")
	g.sh(t, "systemctl reload fieldferry")
	g.until(t, "! fieldferry status | grep config_rejected")
	g.write(t, folder+"/10-more.yaml", "can: [{interface: vcan0, name: more, bitrte: 1}]\n")
	if out := g.fails(t, "fieldferry check --quiet; systemctl reload fieldferry"); !strings.Contains(out, folder+"/10-more.yaml:1:") {
		t.Errorf("a broken file of conf.d:\n%s", out)
	}
	g.until(t, "fieldferry status | grep config_rejected")
	g.sh(t, "rm "+folder+"/10-more.yaml && systemctl reload fieldferry")
	g.until(t, "! fieldferry status | grep config_rejected")
	if now := l.property(t, "MainPID"); now != pid || l.property(t, "NRestarts") != "0" {
		t.Errorf("the process is %s, and was %s", now, pid)
	}
	l.outside.more(t)
	l.outside.settled(t)
}

func (l *life) kill(t *testing.T) {
	pid := l.property(t, "MainPID")
	l.guest.sh(t, "systemctl kill -s KILL fieldferry")
	l.again(t, pid)
	l.fine(t)
}

// watchdog: a process that does not run looks after nothing.
func (l *life) watchdog(t *testing.T) {
	pid := l.property(t, "MainPID")
	l.guest.sh(t, "kill -STOP "+pid)
	l.again(t, pid)
	l.guest.sh(t, "journalctl -b -u fieldferry -q -o cat | grep -i 'watchdog timeout'")
	l.fine(t)
}

func (l *life) outage(t *testing.T) {
	g := l.guest
	l.outside.broker.Stop()
	g.until(t, "fieldferry status | grep uplink_down")
	g.sh(t, "systemctl stop fieldferry")
	if got := l.property(t, "Result") + " " + l.property(t, "ExecMainStatus"); got != "success 0" {
		t.Errorf("the stop ended with %s", got)
	}
	g.sh(t, "fieldferry buffer verify /var/lib/fieldferry && systemctl start fieldferry && sleep 5")
	pid := l.property(t, "MainPID")
	g.sh(t, "systemctl kill -s KILL fieldferry")
	l.again(t, pid)
	g.sh(t, "sleep 5")
	l.back(t)
}

// back ends an outage.
func (l *life) back(t *testing.T) {
	t.Helper()
	if err := l.outside.broker.Start(); err != nil {
		t.Fatal(err)
	}
	l.guest.until(t, "! fieldferry status | grep uplink_down")
	l.outside.more(t)
	l.outside.settled(t)
}

func (l *life) reboot(t *testing.T) {
	l.guest.reboot(t, "systemctl reboot")
	l.booted(t)
	if started := l.outside.account(t).started; started[len(started)-1].Detail.Previous != "clean" {
		t.Errorf("the end before the reboot was %s", started[len(started)-1].Detail.Previous)
	}
}

func (l *life) crash(t *testing.T) {
	l.guest.reboot(t, "echo b > /proc/sysrq-trigger")
	l.booted(t)
}

func (l *life) cut(t *testing.T) {
	l.outside.broker.Stop()
	l.guest.until(t, "fieldferry status | grep uplink_down")
	l.guest.sh(t, "sleep 5")
	l.guest.cut()
	l.guest.boot(t)
	l.guest.until(t, "systemctl is-active fieldferry")
	l.back(t)
}

func (l *life) booted(t *testing.T) {
	t.Helper()
	l.guest.until(t, "systemctl is-active fieldferry")
	l.fine(t)
	if got := l.property(t, "NRestarts"); got != "0" {
		t.Errorf("%s restarts since the boot", got)
	}
}

// disk puts the buffer on a disk of its own, which the kernel makes read-only for
// an error. That is seen although the broker takes everything and nothing has to
// be stored; reading and delivering go on, and the recipe of the documents heals it.
func (l *life) disk(t *testing.T) {
	g := l.guest
	g.sh(t, `systemctl stop fieldferry && truncate -s 200M /root/card && mkfs.ext4 -q /root/card && mount -o loop,errors=remount-ro /root/card /mnt &&
		cp -a /var/lib/fieldferry/. /mnt && chown --reference=/var/lib/fieldferry /mnt && chmod --reference=/var/lib/fieldferry /mnt &&
		find /var/lib/fieldferry -mindepth 1 -delete && umount /mnt && mount -o loop,errors=remount-ro /root/card /var/lib/fieldferry && systemctl start fieldferry`)
	l.well(t) // not fine: a loop device on a busy machine may not answer for seconds
	g.sh(t, "echo 1 > /sys/fs/ext4/$(basename $(findmnt -n -o SOURCE /var/lib/fieldferry))/trigger_fs_error")
	g.until(t, "! touch /var/lib/fieldferry/probe")
	g.until(t, "fieldferry status | grep disk_fault")
	l.outside.more(t)
	g.sh(t, "systemctl stop fieldferry; umount /var/lib/fieldferry && { e2fsck -fy /root/card || [ $? = 1 ]; } && mount -o loop,errors=remount-ro /root/card /var/lib/fieldferry && systemctl start fieldferry")
	l.well(t) // not fine: a loop device on a busy machine may not answer for seconds
}
