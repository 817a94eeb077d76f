// Package house keeps the order of the source tree: its tests check which
// room may import what, that a package says what it is for, that files stay
// readable, and that the documents name what exists. There is nothing in it
// but tests.
package house
