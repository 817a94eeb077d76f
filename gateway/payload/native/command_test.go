package native

import (
	"testing"

	"fieldferry/gateway/record"
)

// A command record has values as they were sent and read, digit by digit, and
// leaves out what there is not. A damaged value does not damage the message.
func TestCommandRecord(t *testing.T) {
	for _, c := range []struct {
		command record.Command
		want    string
	}{
		{record.Command{By: "mqtt", Who: "alice", ID: "a1", Point: "boiler.setpoint", Value: "62.50", Old: "60", Read: "62.5", State: "done", Code: "ok", TookMS: 41, Reason: "ticket \"4711\"", Signer: "ops"},
			`"id":"a1","who":"alice","by":"mqtt","point":"boiler.setpoint","value":62.50,"old":60,"read":62.5,"state":"done","code":"ok","took_ms":41,"reason":"ticket \"4711\"","signer":"ops"`},
		{record.Command{By: "web", Who: "bob", ID: "x", Point: "relay", Value: `"18446744073709551615"`, State: "failed", Code: "exception", Exception: 4, More: 12, Again: true},
			`"id":"x","who":"bob","by":"web","point":"relay","value":"18446744073709551615","state":"failed","code":"exception","exception":4,"took_ms":0,"more":12,"again":true`},
		{record.Command{ID: "x", Value: `{"a":1,`}, `"id":"x","value":"{\"a\":1,","took_ms":0`},
	} {
		var e Encoder
		got, err := e.AppendRecord(nil, 7, 0, record.AppendCommand(nil, &c.command), nil)
		if want := `{"seq":7,"ts":"1970-01-01T00:00:00.000000000Z","type":"command",` + c.want + `}`; err != nil || string(got) != want {
			t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
		}
	}
}
