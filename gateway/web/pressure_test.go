package web

import (
	"net/http"
	"runtime/debug"
	"testing"
)

// When memory runs out new streams are refused, and nothing else.
func TestStreamsUnderPressure(t *testing.T) {
	b := newBench(t, Config{})
	token := b.token(Read)
	free := b.hub.free
	old := debug.SetMemoryLimit(1 << 20)
	refused := b.ask("GET", "/api/v1/events?topics=overview", "", "Authorization", token)
	status := b.ask("GET", "/api/v1/status", "", "Authorization", token)
	debug.SetMemoryLimit(old)
	if refused.StatusCode != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") == "" {
		t.Errorf("a stream: %s", refused.Status)
	}
	if status.StatusCode != http.StatusOK {
		t.Errorf("the status: %s", status.Status)
	}
	if b.hub.free != free {
		t.Error("a place is lost")
	}
	if debug.SetMemoryLimit(-1) == old && pressed() {
		t.Error("without a limit there is pressure")
	}
}
