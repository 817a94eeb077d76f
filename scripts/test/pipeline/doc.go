// Package pipeline measures the whole product against the program one writes
// first, to a broker of another make: from a frame to its PUBACK.
//
// # Caveats
//
// The broker is mosquitto, of the Debian package; without it the benchmarks
// are skipped. It shares the machine, so that frames/s tell of both, while the
// CPU time is that of the measured process alone. Files go to TMPDIR: set it
// to a disk, because on a tmpfs a sync costs nothing.
package pipeline
