package main

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldferry/uplink/uplinktest"
)

// embedded is a broker of this process.
type embedded struct{ *uplinktest.Broker }

func (e embedded) name() string   { return "embedded" }
func (e embedded) urls() []string { return []string{"mqtt://" + e.Addr()} }
func (e embedded) pids() []int    { return nil }
func (e embedded) close()         {}

func (e embedded) fail(context.Context, time.Duration) (string, error) {
	e.Stop()
	return "restarted", e.Start()
}

func TestFleet(t *testing.T) {
	b, err := uplinktest.NewBroker(uplinktest.BrokerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	o := options{n: 4, rate: 50, during: 500 * time.Millisecond, limit: time.Minute}
	r, err := measure(t.Context(), o, embedded{b}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if r.Records == 0 || r.Messages == 0 || r.Hit != 4 || len(r.Returns) != 4 || r.Lost != 0 || r.Attempts < 1 {
		t.Errorf("%+v", r)
	}
	var text bytes.Buffer
	if err := r.print(&text); err != nil || !strings.Contains(text.String(), "4 gateways lost their connection") {
		t.Errorf("%v: %s", err, &text)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestBars(t *testing.T) {
	if got := bars(nil); got != nil {
		t.Errorf("nothing drew %q", got)
	}
	got := bars([]float64{0, 0.5, 0.6, 4.9, 5})
	want := []string{
		"  0.00 s     1 #########################",
		"  0.50 s     2 ##################################################",
	}
	if !slices.Equal(got[:2], want) || len(got) != 11 || got[10] != "  5.00 s     1 #########################" {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
	}
	if q := quantile([]float64{1, 2, 3, 4}, 0.5); q != 2 {
		t.Errorf("the median of 1 to 4 is %v", q)
	}
	if q := quantile(nil, 0.5); q != 0 {
		t.Errorf("the median of nothing is %v", q)
	}
}
