package mqtt

import "testing"

func TestEveryReasonHasWords(t *testing.T) {
	seen := make(map[string]bool)
	for r := range Reason(len(reasons)) {
		if reasons[r].word == "" || reasons[r].text == "" || seen[r.String()] {
			t.Errorf("reason %d has no words of its own: %+v", r, reasons[r])
		}
		seen[r.String()] = true
	}
	if len(reasons) != int(ReasonFlood)+1 {
		t.Errorf("%d reasons have words, there are %d", len(reasons), ReasonFlood+1)
	}
	if got := Reason(200).String(); got != "unknown" {
		t.Errorf("a reason that does not exist is called %q", got)
	}
}
