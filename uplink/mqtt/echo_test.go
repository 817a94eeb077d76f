package mqtt

import (
	"io"
	"runtime"
	"strings"
	"testing"
)

// wireMessage is a PUBLISH of a broker of MQTT 3.1.1.
func wireMessage(first byte, topic, payload string) string {
	n := 2 + len(topic) + len(payload)
	head := []byte{first}
	for ; n >= 0x80; n >>= 7 {
		head = append(head, byte(n)|0x80)
	}
	return string(append(head, byte(n), byte(len(topic)>>8), byte(len(topic)))) + topic + payload
}

// Only the very message proves: not what was retained, nor what others say.
func TestOnlyTheMessageProves(t *testing.T) {
	const connack, topic, payload = "\x20\x02\x00\x00", "a/b", "ours"
	for name, tt := range map[string]struct {
		in    string
		proof bool
	}{
		"itself":            {wireMessage(0x30, topic, payload), true},
		"behind others":     {wireMessage(0x30, topic, "theirs and more") + wireMessage(0x30, topic, "them") + wireMessage(0x30, topic, payload), true},
		"retained":          {wireMessage(0x31, topic, payload), false},
		"of others":         {wireMessage(0x30, topic, "them"), false},
		"to another topic":  {wireMessage(0x30, "a/c", payload), false},
		"to a longer topic": {wireMessage(0x30, "a/b/c", payload), false},
		"cut":               {wireMessage(0x30, topic, payload)[:8], false},
		"broken":            {"\x30\x03\xff\xffx", false},
	} {
		c := testConnection(Protocol311, strings.NewReader(connack+tt.in))
		e := c.echoes.expect(Packet{Topic: topic, Payload: []byte(payload)}, nil)
		_ = c.read()
		if isClosed(e.back) != tt.proof {
			t.Errorf("%s: proved: %v, want %v", name, isClosed(e.back), tt.proof)
		}
	}
}

// The body of an echo is never in memory as a whole, and is no flood.
func TestEchoCostsNoMemory(t *testing.T) {
	payload := strings.Repeat("x", 8<<20)
	c := testConnection(Protocol311, io.MultiReader(strings.NewReader("\x20\x02\x00\x00"), strings.NewReader(wireMessage(0x30, "a", payload))))
	m := Packet{Topic: "a", Payload: []byte(payload)}
	e := c.echoes.expect(m, nil)
	c.echoes.published(&m)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := c.read()
	runtime.ReadMemStats(&after)
	if !isClosed(e.back) {
		t.Errorf("the message was not seen: %v", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 256<<10 {
		t.Errorf("%d bytes were allocated", n)
	}
}
