package uplink

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// file writes a file that mosquitto may read, whoever it runs as.
func file(t *testing.T, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o644); err != nil { //nolint:gosec // keys of a test
		t.Fatal(err)
	}
	return path
}

func readableDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; len(d) > len(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // of a test
			t.Fatal(err)
		}
	}
	return dir
}

// Access rules: the status topic is allowed, the data's is not, and back.
func TestMosquittoACL(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		dir := readableDir(t)
		acl := file(t, dir, "acl", []byte("topic write root/data\ntopic read root/#\n"))
		m := newMosquitto(t, "acl_file "+acl)
		q := newTestQueue(t, 50)
		for i := range q.msgs {
			q.msgs[i].Topic = "root/data"
		}
		obs := newEvents()
		birth := func(int) []Message { return []Message{{Topic: "root/status", Payload: []byte("online"), Retain: true}} }
		u, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + m.addr}, Birth: birth, Verify: true}, q, obs,
			func(u *Uplink) { u.time.Confirm = 500 * time.Millisecond })
		if p == Protocol5 { // it says of each message whether it takes it
			q.wait(50)
			stop()
			if why, _ := obs.said("root/status"); why == "" || len(q.refused) > 0 {
				t.Errorf("the status: %q; refused %q", why, q.refused)
			}
			return
		}
		if e := obs.lost(t); e.Reason != ReasonDenied {
			t.Errorf("lost by %v, want %v", e, ReasonDenied)
		}
		if s := u.Stats(); s.Sent != 0 || s.Connected {
			t.Errorf("stats %+v: nothing may be sent to a broker that throws it away", s)
		}
		file(t, dir, "acl", []byte("topic readwrite root/#\n"))
		m.restart()
		q.wait(50)
		stop()
	})
}

// The trap that Verify is for: without it, 3.1.1 delivers into nothing.
func TestMosquittoAcknowledgesWhatItThrowsAway(t *testing.T) {
	acl := file(t, readableDir(t), "acl", []byte("topic read #\n"))
	m := newMosquitto(t, "acl_file "+acl)
	in := newInbox()
	defer m.subscribe(in)()
	q := newTestQueue(t, 5)
	_, stop := run(t, Config{Servers: []string{"mqtt://" + m.addr}}, q, nil, nil)
	q.wait(5)
	stop()
	if missing := in.missing(5); len(missing) != 5 {
		t.Errorf("%d messages came through; mosquitto has changed, and the check can be reconsidered", 5-len(missing))
	}
}

// What the rules deny under MQTT 5 is handed back, and the rest goes.
func TestMosquittoDeniesARecord(t *testing.T) {
	t.Parallel()
	dir := readableDir(t)
	acl := file(t, dir, "acl", []byte("topic write test/status\ntopic write test/topic\n"))
	m := newMosquitto(t, "acl_file "+acl)
	q := newTestQueue(t, 10)
	q.msgs[4].Topic = "test/denied"
	_, stop := run(t, Config{Protocol: Protocol5, Servers: []string{"mqtt://" + m.addr}, Birth: births}, q, nil,
		func(u *Uplink) { u.suspect.shortest = 50 * time.Millisecond })
	// mosquitto 2.0.11 answers and then resets the connection, which may take
	// the answer along: not so when the message is tried alone.
	q.wait(10)
	stop()
	if len(q.refused) != 1 || q.final > 0 || !strings.HasPrefix(q.refused[0], "message 4: ") {
		t.Errorf("refused: %q, %d for ever; want message 4, for now", q.refused, q.final)
	}
}

func TestMosquittoWithClientCertificates(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	now := time.Now()
	dir := readableDir(t)
	cert := ca.issue(t, "127.0.0.1", now.Add(-time.Hour), now.Add(time.Hour))
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	m := newMosquitto(t,
		"cafile "+file(t, dir, "ca.pem", encode("CERTIFICATE", ca.cert.Raw)),
		"certfile "+file(t, dir, "cert.pem", encode("CERTIFICATE", cert.Certificate[0])),
		"keyfile "+file(t, dir, "key.pem", encode("PRIVATE KEY", key)),
		"require_certificate true")
	good := ca.issue(t, "gateway", now.Add(-time.Hour), now.Add(time.Hour))
	stranger := newCA(t).issue(t, "gateway", now.Add(-time.Hour), now.Add(time.Hour))
	protocols(t, func(t *testing.T, p Protocol) {
		config := func(certs ...tls.Certificate) Config {
			return Config{Protocol: p, Servers: []string{"mqtts://" + m.addr}, Birth: births, Verify: true,
				TLS: func() (*tls.Config, error) {
					return &tls.Config{RootCAs: ca.pool, Certificates: certs, MinVersion: tls.VersionTLS12}, nil
				}}
		}
		for name, cfg := range map[string]Config{"none": config(), "a stranger's": config(stranger)} {
			// The reset that follows the alert may take it along.
			e := firstError(t, cfg, nil)
			for range 20 {
				if e.Reason == ReasonClientCert {
					break
				}
				e = firstError(t, cfg, nil)
			}
			if e.Reason != ReasonClientCert {
				t.Errorf("certificate %s: %v, want %v", name, e, ReasonClientCert)
			}
		}
		q := newTestQueue(t, 500)
		_, stop := run(t, config(good), q, nil, nil)
		q.wait(500)
		stop()
	})
}

// Killed and started again and again under both versions; what was reported
// as acknowledged came to a subscriber in the life it was acknowledged in.
func TestMosquittoRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		m := newMosquitto(t)
		q := newTestQueue(t, 0)
		u, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + m.addr}, Birth: births, Verify: true}, q, nil, nil)
		total := 0
		for range 5 {
			q.add(2000)
			q.wait(total + 700)
			total += 2000
			m.restart()
		}
		q.wait(total)
		stop()
		if s := u.Stats(); s.Refused != 0 || s.Acked != uint64(total) {
			t.Errorf("stats: %+v", s)
		}
	})
}

// mosquitto ends the connection of who sends more than it takes, under 3.1.1
// without a word. Messages that can be smaller are made so.
func TestMosquittoTakesOnlySmallMessages(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		m := newMosquitto(t, "message_size_limit 20000", "max_packet_size 20480")
		q := newTestQueue(t, 20)
		q.msgs[7].Payload = []byte("large " + strings.Repeat("x", 30_000))
		u, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + m.addr}, Birth: births, Verify: true}, q, nil,
			func(u *Uplink) { u.suspect.shortest = 50 * time.Millisecond })
		q.wait(20)
		stop()
		if len(q.refused) != 1 || !strings.HasPrefix(q.refused[0], "large") {
			t.Errorf("given up: %.30q, want the large one", q.refused)
		}
		smaller := false
		for _, l := range q.limits {
			smaller = smaller || l > 0 && l < 30_000
		}
		if !smaller {
			t.Errorf("the queue was never asked for smaller messages: %v; %+v", q.limits, fmt.Sprintf("%+v", u.Stats()))
		}
	})
}

// A container in a crash loop: each connection works, dies within seconds, and
// the port refuses for a while. There is no other client.
func TestMosquittoInACrashLoop(t *testing.T) {
	t.Parallel()
	protocols(t, func(t *testing.T, p Protocol) {
		m := newMosquitto(t)
		q, obs := newTestQueue(t, 0), newEvents()
		_, stop := run(t, Config{Protocol: p, Servers: []string{"mqtt://" + m.addr}, Birth: births}, q, obs, nil)
		for i := range contestCount + 3 {
			q.add(3)
			q.wait(3 * (i + 1))
			m.Kill()
			for len(obs.ch) > 0 { // what was before
				noTakeover(t, obs.next(t))
			}
			for ev := obs.next(t); !noTakeover(t, ev); ev = obs.next(t) {
			}
			if err := m.Start(); err != nil {
				t.Fatal(err)
			}
		}
		stop()
	})
}

// noTakeover says whether the port refused.
func noTakeover(t *testing.T, ev event) bool {
	t.Helper()
	var e *Error
	if errors.As(ev.err, &e) && e.Reason == ReasonTakenOver {
		t.Fatal(e)
	}
	return e != nil && e.Reason == ReasonConnRefused
}
