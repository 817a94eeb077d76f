package daemon

import (
	"errors"
	"strings"
	"testing"
	"time"

	"fieldferry/gateway/alarm"
	"fieldferry/gateway/live"
)

func TestProved(t *testing.T) {
	good := func() *live.Snapshot {
		return &live.Snapshot{Session: 1, Uplink: live.Uplink{Acked: 1}, Sources: []live.Source{
			{Name: "a", Kind: "can", State: live.Receives, Records: 5}, {Name: "b", Kind: "modbus", State: live.Down},
			{Name: "gateway", Kind: "gateway", State: live.Down, Records: 3},
		}, Alarms: []live.Alarm{{Code: "port_lost", Source: "b", Severity: "error"}}}
	}
	for what, c := range map[string]struct {
		change func(before, after *live.Snapshot)
		ok     bool
	}{
		"the same":                  {func(_, _ *live.Snapshot) {}, true},
		"quiet":                     {func(_, a *live.Snapshot) { a.Sources[0].State, a.Sources[0].Records = live.Silent, 0 }, true},
		"source left out":           {func(_, a *live.Snapshot) { a.Sources = a.Sources[1:] }, true},
		"source added":              {func(_, a *live.Snapshot) { a.Sources = append(a.Sources, live.Source{Name: "c", State: live.Down}) }, true},
		"a warning":                 {func(_, a *live.Snapshot) { a.Alarms = append(a.Alarms, live.Alarm{Code: "x", Severity: "warning"}) }, true},
		"nothing before":            {func(b, _ *live.Snapshot) { *b = live.Snapshot{Alarms: b.Alarms} }, true},
		"source down":               {func(_, a *live.Snapshot) { a.Sources[0].State = live.Down }, false},
		"an error":                  {func(_, a *live.Snapshot) { a.Alarms = append(a.Alarms, live.Alarm{Code: "x", Severity: "error"}) }, false},
		"something critical":        {func(_, a *live.Snapshot) { a.Alarms = append(a.Alarms, live.Alarm{Code: "x", Severity: "critical"}) }, false},
		"alarm of another":          {func(_, a *live.Snapshot) { a.Alarms[0].Source = "a" }, false},
		"nothing acked":             {func(_, a *live.Snapshot) { a.Uplink.Acked = 0 }, false},
		"an error is held back":     {func(_, a *live.Snapshot) { a.Pending = []live.Alarm{{Code: "x", Severity: "error"}} }, false},
		"a warning is held back":    {func(_, a *live.Snapshot) { a.Pending = []live.Alarm{{Code: "x", Severity: "warning"}} }, true},
		"it was held back before":   {func(b, a *live.Snapshot) { a.Alarms, b.Pending, b.Alarms = b.Alarms, b.Alarms, nil }, true},
		"it is held back once more": {func(_, a *live.Snapshot) { a.Pending, a.Alarms = a.Alarms, nil }, true},
		"buffer not there":          {func(_, a *live.Snapshot) { a.Session = 0 }, false},
	} {
		before, after := good(), good()
		c.change(before, after)
		if err, _ := proved(before, after); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	fine := &live.Snapshot{Session: 1, Uplink: live.Uplink{Acked: 1}}
	if err, _ := proved(nil, nil); err == nil {
		t.Error("without a picture")
	}
	if err, early := proved(nil, fine); err != nil || early {
		t.Error(err)
	}
}

// Whatever is wrong and is held back ends a trial as it would when it is raised, and
// is raised before the trial is judged without it.
func TestHeldBackIsNotPassed(t *testing.T) {
	for _, c := range alarm.Table {
		if c.Momentary || c.Severity < alarm.Error {
			continue
		}
		a := []live.Alarm{{Code: c.Code, Source: "s", Severity: c.Severity.String()}}
		if err, early := proved(nil, &live.Snapshot{Session: 1, Uplink: live.Uplink{Acked: 1}, Pending: a}); !early || err == nil {
			t.Errorf("%s: %v", c.Code, err)
		}
		if err, early := proved(nil, &live.Snapshot{Session: 1, Uplink: live.Uplink{Acked: 1}, Alarms: a}); err == nil || early {
			t.Errorf("%s: %v", c.Code, err)
		}
		if held := max(c.After, c.Start); held > patience-3*time.Second { // it is looked at once a second
			t.Errorf("%s is held back for %v", c.Code, held)
		}
	}
}

// However short the trial is, a port that is not there ends it, although nobody is
// told of that in the first seconds.
func TestTrialOutlastsDelays(t *testing.T) {
	t.Parallel()
	_, s, lines := brokered(t)
	old := lines[0] + lines[1] + lines[4] + lines[5]
	s.put("f.yaml", old)
	d, stop := s.run()
	defer stop()
	for _, watch := range []time.Duration{time.Millisecond, 4900 * time.Millisecond} {
		var failed *ApplyError
		err := d.Apply(t.Context(), Candidate{Text: []byte(strings.Join(lines, "")), By: "anna", Watch: watch})
		if !errors.As(err, &failed) || failed.Result != RolledBack || !strings.Contains(err.Error(), "the alarm port_lost is new: l") {
			t.Errorf("after %v: %v", watch, err)
		}
	}
}
