package web

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

// register answers every read with its address.
type register struct{}

func (register) ReadLine(_ context.Context, line string, q Query) ([]uint16, error) {
	if line != "line1" || q.Register != "holding" || q.Unit != 17 {
		return nil, errors.New("exception 2: illegal data address")
	}
	return []uint16{q.Address}, nil
}

// FindLine finds unit 17 at 19200 baud with even parity.
func (register) FindLine(ctx context.Context, _ string, tries []Try, each func(Try, time.Duration, error)) error {
	for _, t := range tries {
		if ctx.Err() != nil {
			return nil
		}
		err := errors.New("timeout")
		if t.BaudRate == 19200 && t.Parity == "E" && t.Unit == 17 {
			err = &Exception{Code: 2, Text: "exception 2"}
		}
		each(t, time.Millisecond, err)
	}
	return nil
}

func TestParts(t *testing.T) {
	b := newBench(t, Config{}, func(o *Options) { o.Reader = register{} })
	send(b.view, 0x123, 0xDE, 0xAD)
	token := b.token(Operate)
	for path, want := range map[string]string{
		"/api/v1/sources":                         `"name":"engine"`,
		"/api/v1/alarms":                          `"raised":\[\]`,
		"/api/v1/buffer":                          `"limit_bytes":`,
		"/api/v1/uplink":                          `"connected":true`,
		"/api/v1/can/engine/log":                  `^\(\d+\.\d{6}\) engine 123#DEAD\n$`,
		"/api/v1/can/engine/frames":               `"id":"123","len":2,"data":"DEAD"`,
		"/api/v1/can/engine/frames/123":           `"signals":`,
		"/api/v1/modbus/line1/plan":               `"register":"holding","address":0,"count":1,"every_s":1`,
		"/api/v1/modbus/line1/units":              `"units":\[\]`,
		"/api/v1/modbus/line1/exchanges":          `"unit":1,"request":"0103","error":"timeout"`,
		"/api/v1/sources/line1/values":            `"device":"meter","name":"u","value":null`,
		"/api/v1/history?figure=in&figure=nobody": `"courses":\[{"name":"in"`,
	} {
		r := b.ask("GET", path, "", "Authorization", token)
		body, _ := io.ReadAll(r.Body)
		if r.StatusCode != 200 || !regexp.MustCompile(want).Match(body) {
			t.Errorf("%s: %s %s", path, r.Status, body)
		}
	}
	for _, c := range []struct{ body, want string }{
		{`{"unit":17,"register":"holding","address":7,"count":1}`, `"words":[7]`},
		{`{"unit":18,"register":"holding","address":7,"count":1}`, `exception 2`},
		{`{"unit":300}`, `not the JSON`},
	} {
		r := b.ask("POST", "/api/v1/modbus/line1/read", c.body, "Authorization", token)
		if body, _ := io.ReadAll(r.Body); !strings.Contains(string(body), c.want) {
			t.Errorf("%s: %s", c.body, body)
		}
	}
}
