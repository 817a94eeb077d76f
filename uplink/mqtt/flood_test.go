package mqtt

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Answers can come as fast as a line carries them, and little things for ever.
func TestAllowance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAllowance(time.Now)
		for range 1_000_000 {
			if err := a.spend(100); err != nil {
				t.Fatal(err)
			}
			a.earn()
		}
		for range 3600 {
			time.Sleep(time.Second)
			if err := a.spend(floodRate - 1); err != nil {
				t.Fatal(err)
			}
		}
		began := time.Now()
		for a.spend(floodRate/4) == nil {
			time.Sleep(time.Second / 8)
		}
		if lasted := time.Since(began); lasted > 3*time.Minute {
			t.Errorf("twice the rate lasted %v", lasted)
		}
		if a.spend(1<<30) == nil {
			t.Error("any length is taken")
		}
	})
}
