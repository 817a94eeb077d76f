// Package config reads fieldferry's YAML configuration and checks everything
// about it that needs no hardware, so that what `check` accepts, `run` starts.
//
// # Nouns
//
// A [Config] is complete: defaults are filled in, inherited values are handed
// down, paths are resolved. A [Problem] is one thing wrong with the file, with
// its place and the way out; [Load] returns all of them at once. A [Secret]
// never prints itself. An override replaces one key of the file by its path,
// as in "uplink.servers.0=mqtt://localhost".
//
// # Caveats
//
// The YAML is a strict subset: no anchors, aliases, tags, merge keys or second
// documents, plain words such as yes and no are text, numbers are decimal or
// 0x. A number is refused where YAML 1.1 and 1.2 read it differently (0123).
//
// The package reads the file system (the file itself, secrets, certificates,
// the size of the buffer's disk) but opens no bus and no connection. Nothing
// here is for hot paths. Functions are safe for concurrent use.
package config
