package web

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
)

// The roll has the newest 500 frames, then those that came; a state and a change
// that overlap are told apart by the numbers.
func TestRollFeed(t *testing.T) {
	v := newView()
	f := &rollFeed{view: v, source: "engine"}
	take := func(b []byte) (r rolled) {
		t.Helper()
		if err := json.Unmarshal(b, &r); err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := take(f.Full()); r.Next != 1 || len(r.Lines) != 0 {
		t.Errorf("%+v", r)
	}
	for n := range 700 {
		send(v, uint32(n), byte(n))
	}
	r := take(f.Next())
	if r.Next != 701 || len(r.Lines) != 500 || !strings.HasSuffix(r.Lines[499], " 2BB#BB") {
		t.Errorf("next %d, %d lines, last %s", r.Next, len(r.Lines), r.Lines[len(r.Lines)-1])
	}
	if f.Next() != nil {
		t.Error("a change without a frame")
	}
	send(v, 0x123, 1)
	if r := take(f.Full()); r.Next != 702 || len(r.Lines) != 500 {
		t.Errorf("next %d, %d lines", r.Next, len(r.Lines))
	}
	if r := take(f.Next()); r.Next != 702 || len(r.Lines) != 1 {
		t.Errorf("next %d, %d lines", r.Next, len(r.Lines))
	}
	v.Buses["engine"].Frames.Tick()
	delete(v.Buses, "engine") // another configuration
	f.Next()
	f.Full()
}

// A mark is audited, and a stop says when its start was.
func TestMarks(t *testing.T) {
	b := newBench(t, Config{})
	operate, read := b.token(Operate), b.token(Read)
	for _, c := range []struct {
		body, token string
		want        int
	}{
		{`{"state":"start","note":"x"}`, read, http.StatusForbidden},
		{`{"state":"begin"}`, operate, http.StatusBadRequest},
		{`{"state":"note","note":"` + strings.Repeat("x", 201) + `"}`, operate, http.StatusBadRequest},
		{`{"state":"start","note":"swapped A and B"}`, operate, http.StatusOK},
		{`{"state":"note","note":"now"}`, operate, http.StatusOK},
	} {
		if r := b.ask("POST", "/api/v1/mark", c.body, "Authorization", c.token); r.StatusCode != c.want {
			t.Errorf("%s: %s", c.body, r.Status)
		}
	}
	body, _ := io.ReadAll(b.ask("GET", "/api/v1/mark", "", "Authorization", read).Body)
	if !strings.Contains(string(body), `"state":"start","note":"swapped A and B"`) {
		t.Errorf("the last mark is %s", body)
	}
	stop := decode(t, b.ask("POST", "/api/v1/mark", `{"state":"stop"}`, "Authorization", operate).Body)
	if stop["since"] == nil || b.audited("mark") != 3 {
		t.Errorf("%v, %d audited", stop, b.audited("mark"))
	}
}
