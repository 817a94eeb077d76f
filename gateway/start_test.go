package gateway

import (
	"encoding/json"
	"fmt"
	"testing"

	"fieldferry/buffer"
)

// The note of the start stays a record however many sources there are.
func TestStartDetailFitsARecord(t *testing.T) {
	e := buffer.Ending{Session: 1<<31 - 1, Stored: map[string]uint64{}}
	for i := range 2000 {
		e.Stored[fmt.Sprintf("%064d", i)] = 1 << 60
	}
	room := maxStored
	list := []map[string]any{ending(&e, &room)}
	for range 15 {
		list = append(list, ending(&e, &room))
	}
	b, err := json.Marshal(list)
	if err != nil || len(b) > buffer.MaxRecord-8<<10 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
	if list[0]["previous"] != "unclean" || len(list[0]["stored"].(map[string]uint64)) != maxStored {
		t.Errorf("%v", list[0]["previous"])
	}
}
