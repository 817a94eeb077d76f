package modbus

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"fieldferry/bus/modbus/rtu"
)

func TestAccount(t *testing.T) {
	l := &Line{devices: []*device{{cfg: &Device{Name: "meter", UnitID: 1}}, {cfg: &Device{Name: "tank", UnitID: 12}}, {cfg: &Device{Name: "new", UnitID: 3}}}}
	at := time.Unix(100, 0)
	ask := func(unit byte, reply []byte, err error, took time.Duration) {
		l.account.note([]byte{unit, 3, 0, 0, 0, 1, 9, 9}, reply, err, at, took, false)
		at = at.Add(time.Second)
	}
	for n := range 100 {
		ask(1, []byte{1, 3, 2, 0, byte(n)}, nil, time.Duration(n+1)*time.Millisecond)
	}
	ask(1, nil, &rtu.ExceptionError{Unit: 1, Function: 3, Code: 2}, time.Second)
	ask(1, nil, &rtu.CRCError{Unit: 1}, time.Second)
	ask(12, nil, &rtu.TimeoutError{}, time.Second)
	ask(12, nil, errors.New("something else"), time.Second)
	ask(77, nil, &rtu.TimeoutError{}, time.Second) // asked by hand, not in the configuration
	units := l.Units()
	got := ""
	for _, u := range units {
		p50, ok := u.Quantile(0.5)
		p95, _ := u.Quantile(0.95)
		got += fmt.Sprintf("%s %d: %d asked, %d answered, %d timeouts, %d CRC, %v, %v %v %v\n", u.Name, u.ID, u.Requests, u.Answered, u.Timeouts, u.CRC, u.Exceptions, p50, p95, ok)
	}
	want := `meter 1: 102 asked, 101 answered, 0 timeouts, 1 CRC, map[2:1], 70ms 98ms true
tank 12: 2 asked, 0 answered, 1 timeouts, 0 CRC, map[], 0s 0s false
new 3: 0 asked, 0 answered, 0 timeouts, 0 CRC, map[], 0s 0s false
`
	if got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	list := l.Exchanges()
	if len(list) != recentExchanges || list[0].At != at.Add(-recentExchanges*time.Second) || list[len(list)-1].Unit != 77 || list[len(list)-1].Err == "" {
		t.Errorf("%d exchanges, %+v to %+v", len(list), list[0], list[len(list)-1])
	}
	list[0].Request[0] = 99 // a copy
	if l.Exchanges()[0].Request[0] == 99 {
		t.Error("those who look share memory with the line")
	}
	if want := 5050*time.Millisecond + 5*time.Second; l.Busy() != want {
		t.Errorf("busy %v, want %v", l.Busy(), want)
	}
}

func TestOfflineIsShownSince(t *testing.T) {
	d := &device{cfg: &Device{Name: "tank", UnitID: 12}}
	l := &Line{devices: []*device{d}}
	d.offline, d.probeAt = true, time.Unix(500, 0)
	l.show(d)
	first := l.Units()[0]
	d.probeAt = time.Unix(600, 0)
	l.show(d)
	second := l.Units()[0]
	if !first.Offline || first.Since.IsZero() || second.Since != first.Since || second.NextProbe != time.Unix(600, 0) {
		t.Errorf("%+v, then %+v", first, second)
	}
	d.offline = false
	l.show(d)
	if u := l.Units()[0]; u.Offline || !u.Since.IsZero() {
		t.Errorf("back: %+v", u)
	}
}
