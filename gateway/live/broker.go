package live

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"sync"
	"time"
)

// Certificate is one that the gateway shows, or is shown.
type Certificate struct {
	Subject string    `json:"subject"`
	Issuer  string    `json:"issuer"`
	Names   []string  `json:"names"` // it is valid for, at most 20
	From    time.Time `json:"from"`
	To      time.Time `json:"to"`
	Left    float64   `json:"left_s"` // until its end, in seconds; below 0: it has ended
	SHA256  string    `json:"sha256"` // upper-case hex of the whole
}

// maxNames bounds the names of a certificate, which the far end chooses.
const maxNames = 20

// NewCertificate describes a certificate, but for the time that is left.
func NewCertificate(c *x509.Certificate) *Certificate {
	sum := sha256.Sum256(c.Raw)
	out := &Certificate{Subject: short(c.Subject.String()), Issuer: short(c.Issuer.String()), Names: []string{}, From: c.NotBefore.UTC(), To: c.NotAfter.UTC(),
		SHA256: strings.ToUpper(hex.EncodeToString(sum[:]))}
	for _, n := range c.DNSNames[:min(len(c.DNSNames), maxNames)] {
		out.Names = append(out.Names, short(n))
	}
	for _, ip := range c.IPAddresses[:min(len(c.IPAddresses), maxNames-len(out.Names))] {
		out.Names = append(out.Names, ip.String())
	}
	return out
}

// At is the description at the time now.
func (c *Certificate) At(now time.Time) *Certificate {
	out := *c
	out.Left = c.To.Sub(now).Seconds()
	return &out
}

// short bounds a text that the far end chooses.
func short(s string) string {
	const most = 300
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Announced is what the gateway says of itself to the broker, as it was sent.
type Announced struct {
	Birth []Message `json:"birth"`          // of the newest connection, the status kept up to date
	Will  *Message  `json:"will,omitempty"` // what the broker says when the gateway is gone
}

// Message is a retained message.
type Message struct {
	_ [0]func() // nobody compares them: saves the code for it

	Topic   string    `json:"topic"`
	Payload string    `json:"payload"` // its beginning, if it is long
	Bytes   int       `json:"bytes"`   // of the whole
	Sent    time.Time `json:"sent"`
}

// How much is kept of what was said.
const maxMessages, maxPayload = 16, 4 << 10

// NewMessage keeps a message, or its beginning.
func NewMessage(topic string, payload []byte, sent time.Time) Message {
	return Message{Topic: topic, Payload: strings.ToValidUTF8(string(payload[:min(len(payload), maxPayload)]), ""), Bytes: len(payload), Sent: sent.UTC()}
}

// Sayings keeps what was announced. It may be used from any goroutine.
type Sayings struct {
	mu  sync.Mutex
	now Announced
}

// Born replaces the messages of a birth, of which 16 are kept.
func (s *Sayings) Born(list []Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Birth = list[:min(len(list), maxMessages)]
}

// Again replaces the message of the same topic.
func (s *Sayings) Again(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	birth := append([]Message{}, s.now.Birth...)
	for i := range birth {
		if birth[i].Topic == m.Topic {
			birth[i] = m
		}
	}
	s.now.Birth = birth
}

// Leave replaces the will.
func (s *Sayings) Leave(m Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Will = &m
}

// All returns what was said last.
func (s *Sayings) All() Announced {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.now
	if out.Birth == nil {
		out.Birth = []Message{}
	}
	return out
}
