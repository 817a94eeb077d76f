package passes

import (
	"os"
	"testing"
)

func TestHasItsFolder(t *testing.T) {
	if _, err := os.Stat("testdata/fixture"); err != nil {
		t.Fatal(err)
	}
}

func TestKnowsTheGuest(t *testing.T) {
	if os.Getenv("FIELDFERRY_VM") != "1" {
		t.Fatal("FIELDFERRY_VM is not set in the guest")
	}
}
