// Package armcost counts the instructions that the gateway takes on the target:
// the ARMv7 binary as it ships, under Debian's ARMv7 kernel, in a machine whose
// clock is its number of instructions.
//
// # Caveats
//
// An instruction is not a time: there are no caches and no memory that is far
// away. What carries over is how a row compares with candump's for the same
// frames in the same boot, and with the same row of an earlier version. Kernel
// work in the name of a process is counted as its own.
package armcost
