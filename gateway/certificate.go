package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync"
	"time"

	"fieldferry/bus"
	"fieldferry/gateway/alarm"
	"fieldferry/gateway/config"
	"fieldferry/gateway/live"
	"fieldferry/uplink"
)

// Subjects of the alarm about certificates.
const (
	brokerCertificate = "broker"
	ownCertificate    = "uplink.tls.cert"
	webCertificate    = "web.tls.cert"
)

var certificateSubjects = []string{brokerCertificate, ownCertificate, webCertificate}

// certificates are those in use, by the subject of their alarm.
type certificates struct {
	mu    sync.Mutex
	inUse map[string]shownCertificate
}

// shownCertificate is one with its description, which is worked out once.
type shownCertificate struct {
	*x509.Certificate
	picture *live.Certificate
}

func (c *certificates) put(subject string, cert *x509.Certificate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inUse == nil {
		c.inUse = map[string]shownCertificate{}
	}
	if cert == nil {
		delete(c.inUse, subject)
		return
	}
	c.inUse[subject] = shownCertificate{cert, live.NewCertificate(cert)}
}

// get returns nil where none is known.
func (c *certificates) get(subject string) *x509.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inUse[subject].Certificate
}

// seeTLS is a TLS configuration that remembers which certificates were shown. It
// decides nothing: it is asked after the chain was verified.
func (g *Gateway) seeTLS(load func() (*tls.Config, error)) func() (*tls.Config, error) {
	return func() (*tls.Config, error) {
		c, err := load()
		if err != nil {
			return nil, err
		}
		c.VerifyConnection = func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) > 0 {
				g.certs.put(brokerCertificate, s.PeerCertificates[0])
			}
			return nil
		}
		g.certs.put(ownCertificate, leaf(c))
		return c, nil
	}
}

// leaf is the certificate that a configuration shows, nil if it shows none. A pair
// that was loaded has it parsed.
func leaf(c *tls.Config) *x509.Certificate {
	if len(c.Certificates) == 0 {
		return nil
	}
	return c.Certificates[0].Leaf
}

// WebCertificate says which certificate the page shows. It may be called from any
// goroutine.
func (g *Gateway) WebCertificate(cert *x509.Certificate) { g.certs.put(webCertificate, cert) }

// picture describes a certificate for those who look.
func (c *certificates) picture(subject string, now time.Time) *live.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cert, ok := c.inUse[subject]; ok {
		return cert.picture.At(now)
	}
	return nil
}

// lookAtCertificates raises and clears the alarm about their end. It is not
// called while the clock is not trusted: then nothing is known of it.
func (g *Gateway) lookAtCertificates(now time.Time) {
	for _, subject := range certificateSubjects {
		e := bus.Event{Time: now, Code: alarm.CertificateExpires, Subject: subject, State: bus.Cleared}
		cert := g.certs.get(subject)
		if cert == nil && subject == brokerCertificate {
			continue // a connection has yet to show it
		}
		if cert != nil && config.ExpiresSoon(cert, now) {
			e.State = bus.Raised
			e.Detail = map[string]any{"subject": cert.Subject.CommonName, "issuer": cert.Issuer.CommonName,
				"expires": cert.NotAfter.UTC().Format(time.RFC3339), "days": int(cert.NotAfter.Sub(now).Hours() / 24)}
		}
		g.self.Event(e)
	}
}

// aboutCertificate reports whether a subject of the gateway's own alarms is a
// certificate.
func aboutCertificate(subject string) bool {
	return slices.Contains(certificateSubjects, subject)
}

// messages describes what was sent.
func messages(list []uplink.Message, now time.Time) []live.Message {
	out := make([]live.Message, len(list))
	for i, r := range list {
		out[i] = live.NewMessage(r.Topic, r.Payload, now)
	}
	return out
}
