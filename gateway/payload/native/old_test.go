package native

import (
	"testing"

	"fieldferry/gateway/clock"
	"fieldferry/gateway/record"
	"fieldferry/gateway/topic"
)

// What an older version has left in the buffer goes out as it would have sent it.
func TestBodiesOfAnOlderVersion(t *testing.T) {
	for body, want := range map[string]string{
		`m"device":"meter \"A\"","values":{"u":230.1,"nan":null},"errors":{"nan":"not a number"}`:            `"type":"modbus","device":"meter \"A\"","values":{"u":230.1,"nan":null},"errors":{"nan":"not a number"}`,
		`e"event":"slave_offline","state":"raised","id":3000000017,"subject":"meter","detail":{"unit_id":3}`: `"type":"event","event":"slave_offline","state":"raised","id":3000000017,"subject":"meter","detail":{"unit_id":3}`,
		`a"action":"login","who":"alice","by":"web","from":"127.0.0.1"`:                                      `"type":"audit","action":"login","who":"alice","by":"web","from":"127.0.0.1"`,
		`h"interval_s":300,"state":"receives","records":7,"lost":0`:                                          `"type":"health","interval_s":300,"state":"receives","records":7,"lost":0`,
		"c\x00\x23\x01\x00\x00\xab":                 `"type":"can","id":"123","data":"AB"`,
		"s\x03\x00\x00\x00\x01\x00\x04\xf0\x0c\xff": `"type":"can","id":"0CF00400","ext":true,"data":"FF","suppressed":3`,
		"p\x00\xca\xfe\x18\x01\x02":                 `"type":"can","id":"18FECA00","ext":true,"packets":true,"data":"0102"`,
		string(record.AppendOrigin(nil, clock.Origin{Boot: 2})) + `e"event":"x","state":"event"`:                     `"type":"event","event":"x","state":"event","clock":"unsynced"`,
		string(record.AppendOrigin(nil, clock.Origin{Boot: 2})) + `m"device":"meter","values":{"serial":"SN\u0000"}`: `"type":"modbus","device":"meter","values":{"serial":"SN\u0000"},"clock":"unsynced"`,
	} {
		var e Encoder
		got, err := e.AppendRecord(nil, 7, 0, []byte(body), nil)
		if want = `{"seq":7,"ts":"1970-01-01T00:00:00.000000000Z",` + want + `}`; err != nil || string(got) != want {
			t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
		}
	}
	if k := KeysOf([]byte(`m"device":"meter","values":{}`), nil); k != (topic.Keys{Device: "meter", Name: "meter"}) {
		t.Errorf("keys %+v", k)
	}
}
