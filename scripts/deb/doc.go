// Package deb holds the recipe of the Debian packages (nfpm.yaml, build, the
// maintainer scripts) and the tests that open what it builds. There is no
// code besides: the recipe runs at release time only.
//
// The armhf package carries the ARMv6 build, see docs/decisions/armhf.md.
package deb
