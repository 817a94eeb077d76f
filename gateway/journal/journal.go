// Package journal keeps the log from being in anybody's way.
//
// Its nouns are the [Writer], which takes lines at once and writes them when
// somebody reads them, and the [Limiter], which lets only so many lines of a
// kind through and counts the rest. Nothing here ever waits for who reads the
// log, and nobody outside, however hostile, decides how long it gets.
package journal
