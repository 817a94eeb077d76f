package uplink

import (
	"testing"
	"time"
)

func TestAckTimes(t *testing.T) {
	var a ackTimes
	if got := a.get(); got.P50 >= 0 || got.P95 >= 0 || got.Count != 0 {
		t.Errorf("without any: %+v", got)
	}
	for i := range 100 { // forgotten, but for the sums
		a.add(time.Duration(i) * time.Minute)
	}
	for i := range 100 {
		a.add(time.Duration(i+1) * time.Millisecond)
	}
	got := a.get()
	if got.P50 != 51*time.Millisecond || got.P95 != 96*time.Millisecond || got.Count != 200 {
		t.Errorf("%v, %v of %d", got.P50, got.P95, got.Count)
	}
	if want := [...]uint64{6, 21, 51, 101, 101, 101, 101, 101}; got.Buckets != want {
		t.Errorf("buckets %v, not %v", got.Buckets, want)
	}
	if want := 99*50*time.Minute + 101*50*time.Millisecond; got.Sum != want {
		t.Errorf("sum %v, not %v", got.Sum, want)
	}
	a.add(-time.Second) // a clock of tests may go back
	if got := a.get().Buckets[0]; got != 7 {
		t.Errorf("%d are as fast as can be", got)
	}
}
