package armcost

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// scale is the row that all others are compared with.
const scale = "candump"

// rows are instructions by what takes them.
type rows map[string]float64

// names are the rows in the order of the table: as they are measured.
var names = []string{scale, "start", "idle second", "frame online", "frame in an outage", "decoded frame", "Modbus reading"}

// ratio is how many times candump's work for a frame a row is.
func (r rows) ratio(name string) float64 { return r[name] / r[scale] }

// String is the table as the documentation has it.
func (r rows) String() string {
	var b strings.Builder
	b.WriteString("| what | instructions | times candump's frame |\n| --- | --- | --- |\n")
	whole := rows{} // so that who reads the table finds the same ratio
	for name, n := range r {
		whole[name] = math.Round(n)
	}
	for _, name := range names {
		fmt.Fprintf(&b, "| %s | %.0f | %.3f |\n", name, whole[name], whole.ratio(name))
	}
	return b.String()
}

// parse reads such a table out of a document.
func parse(text string) (rows, error) {
	r := rows{}
	for line := range strings.Lines(text) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !slices.Contains(names, strings.TrimSpace(cells[1])) {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(cells[2]), 64)
		if err != nil {
			return nil, err
		}
		r[strings.TrimSpace(cells[1])] = n
	}
	if len(r) != len(names) {
		return nil, fmt.Errorf("the table has %q, want %q", slices.Sorted(maps.Keys(r)), names)
	}
	return r, nil
}

// compare says which rows have become more than 3 % worse than they were, and
// which more than 3 % better.
func compare(now, kept rows) (worse, better []string) {
	const most = 0.03
	for _, name := range names {
		change := now.ratio(name)/kept.ratio(name) - 1
		text := fmt.Sprintf("%s: %.3f times candump's frame, %.3f before (%+.1f %%)", name, now.ratio(name), kept.ratio(name), 100*change)
		switch {
		case change > most || math.IsNaN(change):
			worse = append(worse, text)
		case change < -most:
			better = append(better, text)
		}
	}
	return worse, better
}
