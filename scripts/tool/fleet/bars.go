package main

import (
	"fmt"
	"math"
	"strings"
)

// quantile of sorted times; 0 when there are none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// bars draws how sorted times spread: a line for each of up to twenty steps.
func bars(sorted []float64) []string {
	if len(sorted) == 0 {
		return nil
	}
	last := sorted[len(sorted)-1]
	step := 0.1
	for _, s := range []float64{0.1, 0.25, 0.5, 1, 2, 5, 10, 30} {
		if step = s; last < 20*s {
			break
		}
	}
	counts := make([]int, int(last/step)+1)
	most := 0
	for _, t := range sorted {
		i := max(0, int(t/step))
		counts[i]++
		most = max(most, counts[i])
	}
	var lines []string
	for i, n := range counts {
		bar := strings.Repeat("#", (50*n+most-1)/most)
		lines = append(lines, strings.TrimRight(fmt.Sprintf("%6.2f s %5d %s", float64(i)*step, n, bar), " "))
	}
	return lines
}
