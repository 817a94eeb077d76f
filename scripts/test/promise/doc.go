// Package promise holds the project to what it has promised to those who upgrade:
// a buffer, a configuration, and whatever else a gateway of an earlier version has
// left on disk are taken up by every later one. It has tests only.
//
// # Nouns
//
// A legacy is a file testdata/NAME.tar.gz, made by scripts/test/promise/make with
// the version of that name and never again: the folder of a gateway that was
// killed in an outage, and a configuration for each part of the language. NAME.txt
// is what that version said was in its buffer.
package promise
