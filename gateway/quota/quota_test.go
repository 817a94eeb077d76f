package quota

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Quota
		admit := func(want bool, left uint64) {
			t.Helper()
			if n, ok := q.Admit(); ok != want || n != left {
				t.Errorf("%d, %v; want %d, %v", n, ok, left, want)
			}
		}
		for range PerSecond {
			admit(true, 0)
		}
		for range 37 {
			admit(false, 0)
		}
		time.Sleep(time.Second - 1)
		admit(false, 0)
		time.Sleep(time.Nanosecond)
		admit(true, 38)
		admit(true, 0)
	})
}
