package gateway

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"fieldferry/gateway/alarm"
	"fieldferry/uplink"
)

// manyValues is a line with so many devices, of 50 registers each.
func manyValues(devices int) string {
	var b strings.Builder
	b.WriteString("modbus:\n  - name: line1\n    port: /dev/ttyS9\n    baud_rate: 9600\n    devices:\n")
	for d := range devices {
		fmt.Fprintf(&b, "      - name: meter%d\n        unit_id: %d\n        interval: 60s\n        registers:\n", d, d+1)
		for r := range 50 {
			fmt.Fprintf(&b, "          - {name: register_%d, register: holding, address: %d, unit: kWh}\n", r, r)
		}
	}
	return b.String()
}

// describe writes a DBC file of so many messages with five signals each.
func describe(t *testing.T, messages int) string {
	t.Helper()
	var b strings.Builder
	for m := range messages {
		fmt.Fprintf(&b, "BO_ %d Message%d: 8 A\n", m+1, m)
		for s := range 5 {
			fmt.Fprintf(&b, " SG_ Signal%d_%d : %d|8@1+ (1,0) [0|250] \"km/h\" B\n", m, s, s*8)
		}
		b.WriteString("\n")
	}
	path := filepath.Join(t.TempDir(), "a.dbc")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// described is what a consumer finds in meta messages.
type described struct {
	values, signals, alarms int
	parts, omitted          int
}

func read(t *testing.T, list []uplink.Message, most int) (d described) {
	t.Helper()
	for _, r := range list {
		if most > 0 && len(r.Topic)+len(r.Payload) > most {
			t.Errorf("%s has %d bytes, want at most %d", r.Topic, len(r.Topic)+len(r.Payload), most)
		}
		if len(r.Payload) == 0 {
			continue
		}
		type devices []struct{ Values []any }
		type messages []struct{ Signals []any }
		var m struct {
			Part, Parts int
			Devices     devices
			Messages    messages
			Alarms      []any
			Sources     []struct {
				Devices  devices
				Messages messages
				Parts    int
				Omitted  int
			}
			AlarmParts int `json:"alarm_parts"`
		}
		if err := json.Unmarshal(r.Payload, &m); err != nil {
			t.Fatal(err)
		}
		d.alarms += len(m.Alarms)
		if m.Part > 0 {
			d.parts++
			if strings.HasSuffix(r.Topic, fmt.Sprint("/", m.Part)) != (m.Part > 1) || m.Part > m.Parts {
				t.Errorf("%s is part %d of %d", r.Topic, m.Part, m.Parts)
			}
		}
		d.parts -= m.AlarmParts
		for _, s := range m.Sources {
			d.parts -= s.Parts
			d.omitted += s.Omitted
			m.Devices, m.Messages = append(m.Devices, s.Devices...), append(m.Messages, s.Messages...)
		}
		for _, x := range m.Devices {
			d.values += len(x.Values)
		}
		for _, x := range m.Messages {
			d.signals += len(x.Signals)
		}
	}
	return d
}

// Whatever the broker takes, all of meta comes, in messages it takes.
func TestMetaIsSplit(t *testing.T) {
	extra := manyValues(40) + fmt.Sprintf("can: [{interface: \"sim:ramp\", name: engine, dbc: [%q]}]\n", describe(t, 200))
	withBench(t, extra, func(b *bench) {
		parts := map[int]int{}
		for _, most := range []int{0, 128 << 10, 10_000, 4000, 1500} {
			list := b.meta(most)
			parts[most] = len(list)
			d := read(t, list, most)
			if d.values != 2000 || d.signals != 1000 || d.alarms != len(alarm.Table) || d.parts != 0 || d.omitted != 0 {
				t.Errorf("at most %d: %+v", most, d)
			}
		}
		if parts[1500] <= parts[4000] || parts[4000] <= parts[10_000] || parts[0] != parts[128<<10] {
			t.Errorf("numbers of messages %v", parts)
		}
		// What does not fit alone is counted, and nothing else is left out.
		if d := read(t, b.meta(400), 400); d.values != 2000 || d.signals != 1000 || d.parts != 0 {
			t.Errorf("at most 400: %+v", d)
		}
		if list := b.births(60); len(list) > 0 && slices.ContainsFunc(list, func(r uplink.Message) bool { return len(r.Payload) > 0 }) {
			t.Errorf("births of 60 bytes: %s", list[0].Payload)
		}
		b.pass(1e10)
		denied := 0
		for _, a := range b.alarms.Raised() {
			if a.Code == alarm.UplinkDenied && (a.Subject == b.root+"/meta" || a.Subject == b.root+"/status") {
				denied++
			}
		}
		if denied != 2 {
			t.Errorf("%d alarms for what does not fit at all, want 2", denied)
		}
	})
}

// Parts of a larger split are cleared at the broker, also after a restart, and
// as often as it takes.
func TestStalePartsAreCleared(t *testing.T) {
	withBench(t, manyValues(20), func(b *bench) {
		small := b.meta(1000)
		for range 2 {
			list := b.meta(4000)
			cleared := map[string]bool{}
			for _, r := range list {
				if len(r.Payload) == 0 {
					cleared[r.Topic] = true
				}
			}
			for _, r := range small {
				is := slices.ContainsFunc(list, func(x uplink.Message) bool { return x.Topic == r.Topic && len(x.Payload) > 0 })
				if is == cleared[r.Topic] {
					t.Fatalf("%s: in use %v, cleared %v", r.Topic, is, cleared[r.Topic])
				}
			}
			b.parts = published{files: b.parts.files, log: b.log} // a restart
		}
		for _, r := range b.meta(4000) {
			b.Announced(r.Topic, "")
		}
		b.parts = published{files: b.parts.files, log: b.log}
		for _, r := range b.meta(4000) {
			if len(r.Payload) == 0 {
				t.Errorf("%s is cleared again", r.Topic)
			}
		}
	})
}

// What the broker does not let the gateway clear, under a root of before, is
// said once, forgotten, and no alarm, also one raised while it was in use.
func TestWhatCannotBeClearedIsForgotten(t *testing.T) {
	withBench(t, manyValues(20), func(b *bench) {
		var log strings.Builder
		b.log = slog.New(slog.NewTextHandler(&log, nil))
		b.root = "former/gw"
		former := b.meta(4000)
		b.Announced(former[0].Topic, "not authorised")
		b.pass(5 * time.Second)
		b.root = "fieldferry/gw"
		stale := 0
		for _, r := range b.meta(4000) {
			if r.Expendable != (len(r.Payload) == 0) || r.Expendable != strings.HasPrefix(r.Topic, "former/") {
				t.Errorf("%s: expendable %v, %d bytes", r.Topic, r.Expendable, len(r.Payload))
			}
			if r.Expendable {
				stale++
				b.Dropped(r.Topic, "not authorised")
			}
		}
		b.pass(5 * time.Second)
		if list := b.alarms.Raised(); len(list) != 0 {
			t.Errorf("alarms %+v", list)
		}
		if n := strings.Count(log.String(), "does not let the gateway clear"); n != 1 || stale != len(former) || stale < 3 {
			t.Errorf("%d topics of before, said %d times:\n%s", stale, n, &log)
		}
		for range 2 {
			for _, r := range b.meta(4000) {
				if r.Expendable {
					t.Errorf("%s is to be cleared again", r.Topic)
				}
			}
			b.parts = published{files: b.parts.files, log: b.log} // a restart
		}
	})
}
