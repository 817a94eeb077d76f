// Package systemd installs the Debian package in a Debian that has systemd as
// its first process, booted by the user-mode-linux kernel of scripts/test/vm, and
// looks at what only a running systemd shows: the reload and its exit code,
// the state, the restart after a kill, the boot with a broken configuration,
// the time a stop takes. It has tests only; make systemd-test runs them.
//
// # Nouns
//
// The root is a Debian that scripts/test/systemd/root makes once. A boot is one life
// of the guest, with a phase of testdata/steps in it, which says a line for
// each step. The disk is the same in all boots.
//
// # Caveats
//
// The guest has no udev, no network and no bus: it reads a simulated CAN
// interface, and its broker is never there. The first phase starts with systemd
// as it boots any Debian; nothing of the unit is changed.
package systemd
