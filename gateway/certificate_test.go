package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"testing"
	"time"

	"fieldferry/buffer"
	"fieldferry/uplink"
)

// lasts is a certificate that began when it was made.
func lasts(life time.Duration) *x509.Certificate {
	return &x509.Certificate{Subject: pkix.Name{CommonName: "broker"}, NotBefore: time.Now(), NotAfter: time.Now().Add(life)}
}

const day = 24 * time.Hour

// A certificate is reported three weeks before its end, or at a quarter of a
// short life, once, and no longer when another is in use.
func TestCertificateAlarm(t *testing.T) {
	withBench(t, "", func(b *bench) {
		look := func() { // simulated time is before any trusted one
			b.lookAtCertificates(time.Now())
			b.pass(5 * time.Second)
		}
		b.certs.put(brokerCertificate, lasts(90*day))
		b.certs.put(ownCertificate, lasts(8*day))
		look()
		wantEvents(t, b.buffer)
		time.Sleep(6*day + time.Hour)
		look()
		time.Sleep(90*day - 21*day - 7*day)
		look()
		wantEvents(t, b.buffer, "gateway certificate_expires uplink.tls.cert raised")
		time.Sleep(2 * day)
		look()
		b.certs.put(ownCertificate, lasts(90*day))
		look()
		list := wantEvents(t, b.buffer, "gateway certificate_expires uplink.tls.cert raised", "gateway certificate_expires broker raised", "gateway certificate_expires uplink.tls.cert cleared")
		if got := list[2].Detail["days"]; got != 19.0 {
			t.Errorf("days left %v", got)
		}
		b.WebCertificate(lasts(-time.Hour))
		look()
		b.WebCertificate(nil) // the page is served without one
		look()
		wantEvents(t, b.buffer, "gateway certificate_expires uplink.tls.cert raised", "gateway certificate_expires broker raised", "gateway certificate_expires uplink.tls.cert cleared",
			"gateway certificate_expires web.tls.cert raised", "gateway certificate_expires web.tls.cert cleared")
	})
}

// The configuration of TLS decides as before, and what was shown is remembered.
func TestSeeTLSOnlyLooks(t *testing.T) {
	var g Gateway
	if _, err := g.seeTLS(func() (*tls.Config, error) { return nil, errors.New("no file") })(); err == nil {
		t.Error("the error is lost")
	}
	given := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: "x"}
	c, err := g.seeTLS(func() (*tls.Config, error) { return given, nil })()
	if err != nil || c.MinVersion != tls.VersionTLS13 || c.ServerName != "x" || c.InsecureSkipVerify {
		t.Errorf("%v %v", c, err)
	}
	if g.certs.picture(brokerCertificate, time.Now()) != nil {
		t.Error("a certificate nobody showed")
	}
	cert := lasts(time.Hour)
	if err := c.VerifyConnection(tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}); err != nil {
		t.Error(err)
	}
	if p := g.certs.picture(brokerCertificate, time.Now()); p == nil || p.Subject != "CN=broker" || p.Left < 3500 {
		t.Errorf("%+v", p)
	}
}

// What waits in an outage is a backlog as soon as it would be sent as one.
func TestWhatWaitsInAnOutageIsBacklog(t *testing.T) {
	withBench(t, "", func(b *bench) {
		now := time.Now()
		for _, c := range []struct {
			connected bool
			since     time.Duration
			want      uint64
		}{{false, time.Second, 0}, {false, 3 * time.Second, 70}, {true, 3 * time.Second, 0}} {
			st := Stats{Uplink: uplink.Stats{Connected: c.connected, Since: now.Add(-c.since)}, Buffer: buffer.Stats{Pending: 70}}
			if got := b.pictureOfUplink(&st, nil, now).Backlog; got != c.want {
				t.Errorf("connected %v for %v: backlog %d, want %d", c.connected, c.since, got, c.want)
			}
		}
	})
}

// Birth and will are kept as they are sent; the will names no alarm.
func TestWhatIsAnnounced(t *testing.T) {
	withBench(t, "", func(b *bench) {
		will := b.look.LastAnnounced().Will
		if will == nil || will.Topic != b.root+"/status" || will.Bytes != len(will.Payload) {
			t.Fatalf("will %+v", will)
		}
		list := b.births(0)
		b.look.Says.Born(messages(list, time.Now()))
		status := b.announceStatus(0)
		birth := b.look.LastAnnounced().Birth
		if len(birth) != len(list) || birth[0].Payload != string(status.Payload) {
			t.Errorf("birth %+v", birth)
		}
	})
}
