package uplink

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	mrand "math/rand/v2"
	"time"

	"fieldferry/uplink/mqtt"
)

// Probe connects to each server as Config says, under a client id of its own,
// and disconnects: a gateway that runs keeps its connection. Nothing is
// published, and there is no will. It returns an error per server, nil where
// the broker accepted the connection; the other kind of error is a wrong Config.
func Probe(ctx context.Context, cfg Config) ([]error, error) {
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails
	// MQTT 3.1.1, 3.1.3.1: every broker takes 23 letters and digits.
	cfg.Subscriptions = nil
	cfg.ClientID, cfg.Will = "fieldferrycheck"+hex.EncodeToString(id)[:8], nil
	servers, err := cfg.normalize()
	if err != nil {
		return nil, err
	}
	u := &Uplink{cfg: cfg, conn: cfg.connection(), time: defaultTiming(), now: time.Now, random: mrand.Float64}
	results := make([]error, len(servers))
	for i, s := range servers {
		pub := u.newPublisher(s)
		if err := pub.Connect(ctx); err != nil {
			results[i] = mqtt.AsError(s.String(), err)
			continue
		}
		pub.Close(true)
	}
	return results, nil
}
