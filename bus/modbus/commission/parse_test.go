package commission

import (
	"fmt"
	"testing"

	"fieldferry/bus/modbus/rtu"
)

// FuzzParseItem: what is taken can be sent, and reads the same when written out.
func FuzzParseItem(f *testing.F) {
	for _, s := range []string{"holding:352", "hr:0x10:2", "18/coil:3:2000", "input:65535:1", "255/discrete:1:1", "holding:1:0", "/:", "holding:-1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		item, err := ParseItem(s, 17)
		if err != nil {
			return
		}
		count := max(item.Count, 1)
		var r rtu.Reader
		if err := r.Reset(rtu.AppendReadRequest(nil, item.Unit, item.Table.Function(), item.Address, uint16(count))); err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		again, err := ParseItem(fmt.Sprintf("%d/%v:%d:%d", item.Unit, item.Table, item.Address, count), 1)
		if item.Count = count; err != nil || again != item {
			t.Fatalf("%q: %+v, again %+v, %v", s, item, again, err)
		}
	})
}
