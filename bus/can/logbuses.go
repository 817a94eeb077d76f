package can

import (
	"io"
	"slices"
)

// LogBuses returns the interfaces of a log in the order in which they appear,
// at most as many as a warning can name. Lines that hold no frame are passed
// over; an error of r ends the log.
func LogBuses(r io.Reader) (names []string) {
	log := NewLogReader(r)
	var f Frame
	for len(names) <= maxLogBuses {
		iface, err := log.Next(&f)
		if _, bad := err.(*LineError); bad {
			continue
		}
		if err != nil {
			break
		}
		if !slices.ContainsFunc(names, func(s string) bool { return s == string(iface) }) {
			names = append(names, string(iface))
		}
	}
	return names
}
