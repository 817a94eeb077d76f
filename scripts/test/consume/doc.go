// Package consume runs the consumers of docs/consume against mosquitto, with
// messages that repeat, arrive late, miss numbers and report losses. It has
// tests only.
package consume
