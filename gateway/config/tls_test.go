package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pki is a directory with certificates and keys, made anew for each test.
type pki struct {
	t   *testing.T
	dir string
	now time.Time
}

func (p pki) write(name string, blocks ...*pem.Block) {
	var data []byte
	for _, b := range blocks {
		data = append(data, pem.EncodeToMemory(b)...)
	}
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// pair writes NAME.pem and NAME.key.
func (p pki) pair(name string, expires time.Time) (cert, key *pem.Block) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: p.now.Add(-time.Hour), NotAfter: expires, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		p.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		p.t.Fatal(err)
	}
	cert, key = &pem.Block{Type: "CERTIFICATE", Bytes: der}, &pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}
	p.write(name+".pem", cert)
	p.write(name+".key", key)
	return cert, key
}

func TestTLSFiles(t *testing.T) {
	p := pki{t, t.TempDir(), time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	cert, key := p.pair("gw", p.now.Add(time.Hour))
	p.pair("other", p.now.Add(time.Hour))
	p.pair("old", p.now.Add(-time.Minute))
	p.pair("soon", p.now.Add(10*time.Minute)) // of a life of 70
	p.write("encrypted.key", &pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	p.write("encrypted-old.key", &pem.Block{Type: "EC PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")})
	p.write("damaged.pem", &pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	p.write("damaged.key", &pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	p.write("both.pem", cert, key)
	p.write("public.key", key)
	if err := os.Chmod(filepath.Join(p.dir, "public.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "empty.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	windows := func(name string, parts ...string) {
		var data []byte
		for _, part := range parts {
			text, err := os.ReadFile(filepath.Join(p.dir, part))
			if err != nil {
				t.Fatal(err)
			}
			data = append(append(data, "\ufeff"...), strings.ReplaceAll(string(text), "\n", "\r\n")...)
		}
		if err := os.WriteFile(filepath.Join(p.dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	windows("bom.pem", "gw.pem")
	windows("bom.key", "gw.key")
	windows("bundle.pem", "gw.pem", "other.pem")
	half, err := os.ReadFile(filepath.Join(p.dir, "gw.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "half.pem"), append([]byte("-----BEGIN CERTIFICATE-----\nMIIB!\n"), half...), 0o600); err != nil {
		t.Fatal(err)
	}
	for tls, want := range map[string]string{
		"ca: bom.pem":                             "",
		"ca: half.pem":                            "4:13: uplink.tls.ca: DIR/half.pem holds 2 certificates, of which 1 cannot be read; copy it again",
		"cert: bom.pem, key: bom.key":             "",
		"cert: gw.pem, key: gw.key":               "",
		"ca: gw.pem":                              "",
		"cert: both.pem, key: both.pem":           "",
		"ca: missing.pem":                         "4:13: uplink.tls.ca: DIR/missing.pem does not exist; create it or correct the path",
		"ca: gw.key":                              "4:13: uplink.tls.ca: DIR/gw.key is a private key, not a certificate; name the certificate here and the key under key",
		"ca: empty.pem":                           "4:13: uplink.tls.ca: DIR/empty.pem holds no PEM certificate; name a file that has BEGIN CERTIFICATE in it",
		"ca: .":                                   "4:13: uplink.tls.ca: DIR is a directory; name a regular file",
		"ca: damaged.pem":                         "4:13: uplink.tls.ca: DIR/damaged.pem holds a damaged certificate: ",
		"ca: old.pem":                             `4:13: uplink.tls.ca: warning: the certificate of "old" expired on 2026-05-31; renew it, or set this machine's clock`,
		"ca: soon.pem":                            `4:13: uplink.tls.ca: warning: the certificate of "soon" ends on 2026-06-01; renew it`,
		"cert: gw.key, key: gw.key":               "4:15: uplink.tls.cert: DIR/gw.key is a private key, not a certificate; name the certificate here and the key under key",
		"cert: gw.pem, key: gw.pem":               "4:28: uplink.tls.key: DIR/gw.pem is a certificate, not a private key; name the key here and the certificate under cert",
		"cert: gw.pem, key: other.key":            "4:28: uplink.tls.key: DIR/other.key is not the key of the certificate DIR/gw.pem; name the key the certificate was made for",
		"cert: gw.pem, key: encrypted.key":        "4:28: uplink.tls.key: DIR/encrypted.key is encrypted, and nobody is there to type its passphrase; decrypt it: openssl pkey -in FILE -out NEWFILE",
		"cert: gw.pem, key: encrypted-old.key":    "4:28: uplink.tls.key: DIR/encrypted-old.key is encrypted, and nobody is there to type its passphrase; decrypt it: openssl pkey -in FILE -out NEWFILE",
		"cert: gw.pem, key: damaged.key":          "4:28: uplink.tls.key: DIR/damaged.key holds a damaged key, or one of a kind that is not known; make an ECDSA, Ed25519 or RSA key",
		"cert: gw.pem, key: empty.pem":            "4:28: uplink.tls.key: DIR/empty.pem holds no PEM private key; name a file that has BEGIN PRIVATE KEY in it",
		"cert: gw.pem, key: missing.key":          "4:28: uplink.tls.key: DIR/missing.key does not exist; create it or correct the path",
		"cert: gw.pem, key: public.key":           "4:28: uplink.tls.key: warning: everybody on this machine can read the file; chmod 0640, owned by root and the group of the daemon",
		"cert: gw.pem":                            "4:15: uplink.tls.cert: a certificate needs its key; add key: FILE",
		"key: gw.key":                             "4:14: uplink.tls.key: a key needs its certificate; add cert: FILE",
		"min_version: \"1.4\"":                    `4:22: uplink.tls.min_version: "1.4" is not known; write 1.2`,
		"cert: old.pem, key: old.key, alpn: mqtt": `4:15: uplink.tls.cert: warning: the certificate of "old" expired`,
	} {
		cfg, got := p.parse("can: [{interface: can0}]\nuplink:\n  servers: [mqtts://h]\n  tls: {" + tls + "}\n")
		if want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("%s\ngot  %s\nwant %s", tls, got, want)
		}
		if strings.HasPrefix(tls, "cert:") && strings.Contains(tls, "key:") && !strings.Contains(tls, "alpn") {
			pageReadsThemToo(t, p, tls, strings.ReplaceAll(want, "uplink.tls", "web.tls"))
		}
		if cfg == nil {
			continue
		}
		c, err := cfg.Uplink.TLSConfig()
		if err != nil {
			t.Errorf("%s: %v", tls, err)
			continue
		}
		if withCert := strings.Contains(tls, "cert:"); withCert != (len(c.Certificates) == 1) {
			t.Errorf("%s: %d certificates", tls, len(c.Certificates))
		}
		if withCA := strings.Contains(tls, "ca:"); withCA != (c.RootCAs != nil) {
			t.Errorf("%s: roots %v", tls, c.RootCAs)
		}
	}
}

// parse reads a configuration that names files of p, and words what is wrong.
func (p *pki) parse(text string) (cfg *Config, wrong string) {
	opts := surroundings()
	opts.Now = p.now
	cfg, problems := Parse(filepath.Join(p.dir, "f.yaml"), []byte(text), opts)
	return cfg, strings.TrimPrefix(strings.ReplaceAll(lines(problems), p.dir, "DIR"), "DIR/f.yaml:")
}

// pageReadsThemToo: what is good or bad for the uplink is so for the page.
func pageReadsThemToo(t *testing.T, p pki, tls, want string) {
	t.Helper()
	cfg, got := p.parse("can: [{interface: can0}]\nuplink: {servers: [mqtts://h]}\nweb:\n  tls: {" + tls + "}\n")
	if want == "" && got != "" || !strings.HasPrefix(got, want) {
		t.Errorf("%s of the page\ngot  %s\nwant %s", tls, got, want)
	}
	if cfg == nil {
		return
	}
	if pair, err := ReadPair(cfg.Web.CertFile, cfg.Web.KeyFile); err != nil || len(pair.Certificate) == 0 {
		t.Errorf("%s of the page: %v", tls, err)
	}
}

// A bundle put together from files of Windows has all its authorities.
func TestNoAuthorityIsLost(t *testing.T) {
	p := pki{t, t.TempDir(), time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	first, _ := p.pair("first", p.now.Add(time.Hour))
	second, _ := p.pair("second", p.now.Add(time.Hour))
	var data []byte
	for _, b := range []*pem.Block{first, second} {
		data = append(append(data, "\ufeff"...), pem.EncodeToMemory(b)...)
	}
	path := filepath.Join(p.dir, "bundle.pem")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if certs, _, bad := readCerts(path); bad != nil || len(certs) != 2 {
		t.Errorf("%d authorities, %v", len(certs), bad)
	}
}

// TestTLSFilesAreReadAgain replaces a certificate after loading.
func TestTLSFilesAreReadAgain(t *testing.T) {
	p := pki{t, t.TempDir(), time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)}
	p.pair("gw", p.now)
	up := Uplink{TLS: &TLS{Cert: filepath.Join(p.dir, "gw.pem"), Key: filepath.Join(p.dir, "gw.key")}}
	first, err := up.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	p.pair("gw", p.now.Add(time.Hour))
	second, err := up.TLSConfig()
	if err != nil {
		t.Fatal(err)
	}
	if string(first.Certificates[0].Certificate[0]) == string(second.Certificates[0].Certificate[0]) {
		t.Error("the old certificate is used")
	}
	p.pair("other", p.now)
	up.TLS.Key = filepath.Join(p.dir, "other.key")
	if _, err := up.TLSConfig(); err == nil || !strings.Contains(err.Error(), "uplink.tls.key: ") {
		t.Errorf("a key of another certificate: %v", err)
	}
}
