package dbc

import "testing"

// Pages are the values of the multiplexers of a frame, whatever its length, and
// only multiplexed messages have any.
func TestPages(t *testing.T) {
	db := deadbandDatabase(t)
	for frame, several := range map[string]bool{"104#00": true, "100#00": false, "104#R": false, "00000104#00": false, "7FF#00": false} {
		f := deadbandFrame(t, frame)
		if p := db.Pages(&f); (p != nil) != several {
			t.Errorf("%s has several pages: %v", frame, p != nil)
		}
	}
	f := deadbandFrame(t, "104#00")
	pages := db.Pages(&f)
	page := func(text string) uint64 { f := deadbandFrame(t, text); return pages.Page(f.Payload()) }
	for _, same := range [][2]string{{"104#00 05", "104#00 06"}, {"104#00 05", "104#00 06 07"}, {"104#01", "104#01 00"}} {
		if page(same[0]) != page(same[1]) {
			t.Errorf("%q are two pages", same)
		}
	}
	for _, other := range [][2]string{{"104#00 05", "104#01 05"}, {"104#00", "104#"}, {"104#02 00", "104#03 00"}} {
		if page(other[0]) == page(other[1]) {
			t.Errorf("%q are one page", other)
		}
	}
}
