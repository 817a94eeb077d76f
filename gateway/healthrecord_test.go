package gateway

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus/can"
	"fieldferry/gateway/payload/native"
	"fieldferry/gateway/source"
)

// Each source says how it fares once an interval, in its own numbered stream.
func TestHealthRecords(t *testing.T) {
	withBench(t, "", func(b *bench) {
		b.cfg.Gateway.HealthInterval = time.Minute
		var o observer
		for range 3 {
			b.sources[0].Source.(*source.CAN).Handler(b.sources[0].feed).Frames([]can.Frame{{ID: 1, Len: 1, Time: time.Now().UnixNano()}})
			b.look.Publish(o.picture(b.Gateway, time.Now()))
			b.appendHealth(b.look.Snapshot(), time.Now())
			b.pass(time.Minute)
		}
		got := map[string][]string{}
		for _, r := range recordsIn(t, b.buffer) {
			if r["type"] != "health" {
				continue
			}
			_, self := r["gateway"]
			_, bus := r["can"]
			got[r["source"].(string)] = append(got[r["source"].(string)], fmt.Sprint(r["records"], self, bus, r["interval_s"]))
		}
		want := map[string][]string{"idle": {"1 false true 60", "3 false true 60", "5 false true 60"}, "gateway": {"1 true false 60", "2 true false 60", "3 true false 60"}}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("health records %v, want %v", got, want)
		}
	})
}

// recordsIn reads the records that are in the buffer as a consumer has them.
func recordsIn(t *testing.T, b *buffer.Buffer) (list []map[string]any) {
	t.Helper()
	var batch buffer.Batch
	var enc native.Encoder
	for from := b.First(); ; {
		next, err := b.Read(from, &batch, 1000, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range batch.Records {
			text, err := enc.AppendRecord(nil, r.Seq, r.Time, r.Data, nil)
			var m map[string]any
			if err == nil {
				err = json.Unmarshal(text, &m)
			}
			if err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			m["source"] = r.Source
			list = append(list, m)
		}
		if next == from {
			return list
		}
		from = next
	}
}
