package config

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/uplink"
)

// At each bound of a leaf, below and above it, the file is accepted exactly
// when the leaf accepts it, and whatever is accepted the leaves take.
func TestBoundsAreThoseOfTheLeaves(t *testing.T) {
	const file = `gateway: {id: g}
modbus: [{name: l, port: /dev/ttyS1, %s devices: [{name: d, unit_id: 1, registers: [{name: r, address: 0}]}]}]
uplink: {servers: ["mqtt://127.0.0.1:1"]%s}
`
	for _, c := range []struct {
		line, uplink string
		ok           bool
	}{
		{fmt.Sprintf("turnaround: %dms,", modbus.MaxTurnaround.Milliseconds()), "", true},
		{fmt.Sprintf("turnaround: %dms,", modbus.MaxTurnaround.Milliseconds()+1), "", false},
		{"turnaround: 5s,", "", false},
		{"connect_delay: 30s,", "", true},
		{"connect_delay: 30001ms,", "", false},
		{"timeout: 1m,", "", true},
		{"timeout: 60001ms,", "", false},
		{"retries: 10,", "", true},
		{"retries: 11,", "", false},
		{"", ", in_flight: 0", false},
		{"", ", in_flight: 1", true},
		{"", fmt.Sprintf(", in_flight: %d", uplink.MaxInFlight), true},
		{"", fmt.Sprintf(", in_flight: %d", uplink.MaxInFlight+1), false},
		{"", ", in_flight: 65500", false},
		{"", fmt.Sprintf(", keep_alive: %ds", uplink.MaxKeepAlive/time.Second), true},
		{"", fmt.Sprintf(", keep_alive: %ds", uplink.MaxKeepAlive/time.Second+1), false},
		{"", ", ack_timeout: 48h", true},
		{"", ", protocol: 5, ack_timeout: 1s", true},
	} {
		text := fmt.Sprintf(file, c.line, c.uplink)
		cfg, problems := Parse("f.yaml", []byte(text), Options{})
		if cfg != nil != c.ok {
			t.Errorf("%s%s: accepted %v, want %v: %v", c.line, c.uplink, cfg != nil, c.ok, problems)
		}
	}
}

// What a leaf refuses is an error of the file, also when no key is bounded.
func TestLeavesDecide(t *testing.T) {
	l := newLoader("f.yaml", Options{})
	cfg := &Config{Modbus: []modbus.LineConfig{{Port: "/dev/ttyS1", Turnaround: 5 * time.Second}},
		Uplink: Uplink{Servers: []string{"mqtt://h"}, ClientID: "c", Protocol: "3.1.1", InFlight: 65500}}
	l.leaves(cfg)
	if len(l.problems) != 2 || !HasErrors(l.problems) {
		t.Errorf("problems %v, want one of the line and one of the uplink", l.problems)
	}
}

// What the log and the alarm say of a problem has nothing of the file in it
// that might be a secret.
func TestPublicProblem(t *testing.T) {
	_, problems := Parse("f.yaml", []byte("gateway: {id: g, clock: 'hunter\"2'}\n"), Options{})
	found := false
	for _, p := range problems {
		found = found || strings.Contains(p.String(), "hunter")
		if s := p.Public().String(); strings.Contains(s, "hunter") || !strings.HasPrefix(s, "f.yaml:1:") {
			t.Errorf("%s", s)
		}
	}
	if !found {
		t.Errorf("no problem quotes the file: %v", problems)
	}
	for what, want := range map[string]string{
		`another register on line 15 of this device has the name "hunter2"`: `another register on line 15 of this device has the name "..."`,
		`"hunter\"2" is not a whole number`:                                 `"..." is not a whole number`,
		`begins like VERSION "" ... BO_ 100 "hunter" ""`:                    `begins like VERSION "" ... BO_ 100 "..." ""`,
	} {
		if got := (Problem{What: what}).Public().What; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
