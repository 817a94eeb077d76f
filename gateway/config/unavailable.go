package config

import "regexp"

// unavailable is a key that fieldferry's configuration has, or that people
// expect, and this version cannot act on. Accepting it would promise what does
// not happen.
type unavailable struct {
	path    string // key path, [] for any item
	feature string // what is not there
	accept  string // the one value that asks for nothing beyond what happens anyway
	advice  string // what to do instead; empty: remove the key
}

// unavailableKeys loses a row when a feature arrives.
var unavailableKeys = []unavailable{
	{path: "uplink.format", feature: "another format than json", accept: "json", advice: "remove the key or set it to json"},
}

var itemIndex = regexp.MustCompile(`\[\d+\]`)

func findUnavailable(path string) (unavailable, bool) {
	key := lastKey(path)
	for _, u := range unavailableKeys {
		if lastKey(u.path) == key && itemIndex.ReplaceAllString(path, "[]") == u.path {
			return u, true
		}
	}
	return unavailable{}, false
}

func (u unavailable) what() string { return u.feature + " is not in this version" }

func (u unavailable) fix() string {
	if u.advice != "" {
		return u.advice
	}
	return "remove the key"
}
