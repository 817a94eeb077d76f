// Package systemd takes the Debian package through two lives in a Debian that
// has systemd as its first process, and looks at what only that shows: install,
// reload and its exit code, watchdog, kill, outage, reboot, power cut in the one;
// a failed disk, upgrade, downgrade, removal, purge in the other. It has tests
// only; make install-test runs them.
//
// # Nouns
//
// The image is a Debian that scripts/test/systemd/image makes once. The guest is
// QEMU with a disk over the image; it boots several times in a life. Broker,
// subscriber and Modbus slave are on the side of the test: they outlive every
// boot, and what they see is evidence of the gateway that the gateway had no
// hand in. The account is what the subscriber has been given.
//
// # Caveats
//
// QEMU interprets the guest's instructions, so that time goes slowly there: what
// takes a second on a PC takes ten. Nothing is asserted about it.
package systemd
