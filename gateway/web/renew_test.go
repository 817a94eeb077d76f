package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// pairOnDisk are a certificate and a key that are replaced as those who renew
// them do.
type pairOnDisk struct {
	t         *testing.T
	cert, key string
}

func newPair(t *testing.T) pairOnDisk {
	dir := t.TempDir()
	return pairOnDisk{t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
}

// write replaces the files, and returns the certificate. half leaves the key.
func (p pairOnDisk) write(half bool) *x509.Certificate {
	p.t.Helper()
	both, err := makeCertificate()
	if err != nil {
		p.t.Fatal(err)
	}
	cert, rest := pem.Decode(both)
	p.put(p.cert, pem.EncodeToMemory(cert))
	if !half {
		p.put(p.key, rest)
	}
	c, err := x509.ParseCertificate(cert.Bytes)
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

func (p pairOnDisk) put(path string, data []byte) {
	p.t.Helper()
	if err := errors.Join(os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path)); err != nil {
		p.t.Fatal(err)
	}
}

func (p pairOnDisk) config() Config {
	return Config{Listen: "127.0.0.1:0", CertFile: p.cert, KeyFile: p.key}
}

// A certificate whose files are replaced is shown within a minute, and one that
// is half replaced never is.
func TestReplacedCertificateIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		first := p.write(false)
		var told []*x509.Certificate
		b := newBench(t, p.config(), func(o *Options) {
			o.ReadPair = tls.LoadX509KeyPair
			o.Shows = func(c *x509.Certificate) { told = append(told, c) }
		})
		c, err := b.tlsConfig()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.Server.follow(ctx)
		want := func(when string, want *x509.Certificate) {
			t.Helper()
			synctest.Wait()
			got, err := c.GetCertificate(nil)
			if err != nil || !slices.Equal(got.Certificate[0], want.Raw) {
				t.Errorf("%s: another certificate is shown (%v)", when, err)
			}
		}
		time.Sleep(renewEvery)
		want("nothing changed", first)
		p.write(true)
		time.Sleep(renewEvery)
		want("half replaced", first)
		second := p.write(false)
		want("not looked at yet", first)
		time.Sleep(renewEvery)
		want("a minute later", second)
		if err := os.Remove(p.key); err != nil {
			t.Fatal(err)
		}
		time.Sleep(renewEvery)
		want("without its key", second)
		third := p.write(false)
		b.Renew()
		want("asked for", third)
		if len(told) != 2 || !told[0].Equal(second) || !told[1].Equal(third) {
			t.Errorf("told of %d certificates, want the two that were replaced", len(told))
		}
	})
}

// Clients get the certificate that has replaced the former one, without a new
// listener.
func TestReplacedCertificateOnTheWire(t *testing.T) {
	p := newPair(t)
	first := p.write(false)
	told := make(chan *x509.Certificate, 4)
	b := newBench(t, p.config(), func(o *Options) {
		o.ReadPair = tls.LoadX509KeyPair
		o.Shows = func(c *x509.Certificate) { told <- c }
	})
	at := b.start()[len("http://"):]
	wants := func(want *x509.Certificate) {
		t.Helper()
		if got := <-told; !got.Equal(want) {
			t.Error("another certificate was told of")
		}
		c, err := tls.Dial("tcp", at, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if !c.ConnectionState().PeerCertificates[0].Equal(want) {
			t.Error("a client got another certificate")
		}
	}
	wants(first)
	second := p.write(false)
	b.Renew()
	wants(second)
}
