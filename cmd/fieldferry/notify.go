package main

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// notifySystemd tells the service manager a state such as "READY=1", as
// sd_notify(3) does. Without a manager it does nothing.
func (a *app) notifySystemd(state string) error {
	path, ok := a.getenv("NOTIFY_SOCKET")
	if !ok || path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") { // an abstract address
		path = "\x00" + path[1:]
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	// A manager that does not read must not hold up the daemon.
	if err := conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return err
}

// managed reports whether a service manager hears what the daemon notifies.
func (a *app) managed() bool {
	path, _ := a.getenv("NOTIFY_SOCKET")
	return path != ""
}

// runtimeSocket is where the control socket belongs under a service manager that
// makes a directory for it (RuntimeDirectory= of systemd.exec(5)); empty: there
// is none.
func (a *app) runtimeSocket() string {
	dir, _ := a.getenv("RUNTIME_DIRECTORY")
	if dir, _, _ = strings.Cut(dir, ":"); dir == "" {
		return ""
	}
	return dir + "/control"
}

// stateDirectory is where a service manager lets the daemon keep its state
// (StateDirectory= of systemd.exec(5)); empty: there is none.
func (a *app) stateDirectory() string {
	dir, _ := a.getenv("STATE_DIRECTORY")
	dir, _, _ = strings.Cut(dir, ":")
	return dir
}

// reloading is the state of a daemon that has been told to read its
// configuration again; READY=1 ends it.
func reloading() string {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // there is such a clock
	return "RELOADING=1\nMONOTONIC_USEC=" + strconv.FormatInt(now.Nano()/1000, 10)
}

// watchdogTime is how long the manager waits for a sign of life, as
// sd_watchdog_enabled(3) finds it out; 0: it does not.
func (a *app) watchdogTime() time.Duration {
	if pid, ok := a.getenv("WATCHDOG_PID"); ok && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	text, _ := a.getenv("WATCHDOG_USEC")
	usec, err := strconv.ParseUint(text, 10, 50) // 35 years at most
	if err != nil {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}

// watchdog gives the manager signs of life, one at least in half of the time
// that it waits, as long as alive is called once a second.
type watchdog struct {
	half   time.Duration // 0: nobody waits
	notify func(state string)
	last   time.Time
}

func (w *watchdog) alive() {
	if time.Since(w.last) > w.half-time.Second {
		w.ping()
	}
}

func (w *watchdog) ping() {
	if w.half > 0 {
		w.last = time.Now()
		w.notify("WATCHDOG=1")
	}
}
