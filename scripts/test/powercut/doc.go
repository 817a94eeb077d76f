// Package powercut cuts the power of an ARMv7 guest again and again while the
// real daemon and the workload of scripts/tool/crash write to its disk, an ext4
// file system whose cache loses what was not flushed, and checks that what was
// promised is kept. It has tests only; make vm-test runs them, POWERCUTS says
// how many cuts there are.
package powercut
