// Package modbustest imitates the far end of a Modbus RTU line, for tests and
// for the demonstration.
//
// # Nouns
//
// A [PTY] is a pseudo-terminal pair: programs open its Path as their serial
// port, and the fake sits on its other end. A [Wire] is a line in memory whose
// time is the test's (testing/synctest). A [Slave] answers for well-behaved
// [Unit]s. [Serve] runs a scripted slave that sends any bytes at any time.
//
// # Caveats
//
// Neither a pseudo-terminal nor a Wire takes time to carry a character, and
// neither has parity.
package modbustest
