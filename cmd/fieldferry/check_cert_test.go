package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// check judges certificates by the time of this machine; the configuration with
// one that has expired is taken all the same, as a start does.
func TestCheckNamesExpiredCertificates(t *testing.T) {
	dir := t.TempDir()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"gw.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		"gw.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"f.yaml": []byte("gateway: {id: g}\nbuffer: {path: b}\ncan: [{interface: can0}]\nuplink: {servers: [mqtts://h], tls: {cert: gw.pem, key: gw.key}}\nweb: {tls: {cert: gw.pem, key: gw.key}, listen: \"0.0.0.0:0\"}\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r := fieldferry(t.Context(), nil, "check", "-q", "-c", filepath.Join(dir, "f.yaml"))
	if r.code != 0 || strings.Count(r.stderr, "expired on") != 2 || !strings.Contains(r.stderr, "uplink.tls.cert: warning: ") || !strings.Contains(r.stderr, "web.tls.cert: warning: ") {
		t.Errorf("%+v", r)
	}
}
