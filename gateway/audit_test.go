package gateway

import (
	"fmt"
	"testing"
	"time"

	"fieldferry/gateway/quota"
	"fieldferry/gateway/record"
)

// What people do through a door stands in the gateway's stream; a flood of it is
// counted.
func TestAudit(t *testing.T) {
	withBench(t, "", func(b *bench) {
		for range 3 * quota.PerSecond {
			b.Audit(time.Now(), record.Audit{Action: "login_refused", By: "web", From: "192.0.2.1"})
		}
		b.pass(2 * time.Second)
		b.Audit(time.Now(), record.Audit{Action: "login", Who: `an"na`, By: "web"})
		n, last := 0, ""
		for _, r := range recordsIn(t, b.buffer) {
			if r["type"] == "audit" {
				n++
				last = fmt.Sprint(r["source"], r["action"], r["who"], r["by"], r["from"], r["more"])
			}
		}
		if n != quota.PerSecond+1 || last != `gatewayloginan"naweb<nil> 40` {
			t.Errorf("%d records, the last is %s", n, last)
		}
	})
}

func TestPageThatCannotBeServed(t *testing.T) {
	withBench(t, "", func(b *bench) {
		b.WebFault(fmt.Errorf("address already in use"))
		b.pass(time.Second)
		b.WebFault(nil)
		b.pass(time.Second)
		wantEvents(t, b.buffer, "gateway web_unavailable raised", "gateway web_unavailable cleared")
	})
}
