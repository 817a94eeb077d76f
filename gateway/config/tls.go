package config

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// TLS is how the broker is recognised and what is shown to it. Paths are
// resolved.
type TLS struct {
	CA         string // file of the authorities; empty: the system's
	Cert, Key  string // files of the client certificate; both or none
	ServerName string // name the broker's certificate has, when not the host
	MinVersion uint16 // tls.VersionTLS12 or tls.VersionTLS13
	ALPN       []string
}

// maxSecret and maxPEM bound the files that are read whole.
const (
	maxSecret = 64 << 10
	maxPEM    = 1 << 20
)

// ReadPassword returns the password as it is now, without a trailing newline;
// an error says which file cannot be read and why.
func (u Uplink) ReadPassword() (string, error) {
	if u.PasswordFile == "" {
		return u.Password.Reveal(), nil
	}
	text, err := ReadSecret(u.PasswordFile)
	if err != nil {
		return "", fmt.Errorf("uplink.password_file: %w", err)
	}
	return text, nil
}

var (
	errSecretEmpty = errors.New("is empty")
	errSecretNUL   = errors.New("contains a NUL byte")
	errSecretLines = errors.New("has more than one line")
)

// bom is what editors of Windows put before a text, and nobody sees there.
var bom = []byte("\ufeff")

// ReadSecret returns the one line of a secret's file: without the line end, or
// the byte order mark of an editor.
func ReadSecret(path string) (string, error) {
	text, _, err := readSecret(path)
	if err != nil {
		what, fix := secretTrouble(path, err)
		return "", fmt.Errorf("%s; %s", what, fix)
	}
	return text, nil
}

func readSecret(path string) (string, fs.FileInfo, error) {
	data, info, err := readRegular(path, maxSecret)
	if err != nil {
		return "", nil, err
	}
	data = bytes.TrimPrefix(data, bom)
	data = bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return "", nil, errSecretEmpty
	case bytes.IndexByte(data, 0) >= 0:
		return "", nil, errSecretNUL
	case bytes.ContainsAny(data, "\r\n"):
		return "", nil, errSecretLines
	case len(data) > maxString:
		return "", nil, errTooBig{maxString}
	}
	return string(data), info, nil
}

func secretTrouble(path string, err error) (what, fix string) {
	if errors.Is(err, errSecretEmpty) || errors.Is(err, errSecretNUL) || errors.Is(err, errSecretLines) {
		return path + " " + err.Error(), "write the password into it, on one line"
	}
	return fileTrouble(path, err)
}

// TLSConfig reads the files of the TLS settings as they are now. Without
// settings it returns a configuration with the system's roots.
func (u Uplink) TLSConfig() (*tls.Config, error) {
	return u.TLS.Load("uplink.tls.")
}

// Load reads the files of the settings, of which an error names the key behind
// prefix. No settings are the system's roots.
func (t *TLS) Load(prefix string) (*tls.Config, error) {
	if t == nil {
		return &tls.Config{MinVersion: tls.VersionTLS12}, nil
	}
	c := &tls.Config{MinVersion: t.MinVersion, ServerName: t.ServerName, NextProtos: t.ALPN}
	if t.CA != "" {
		certs, _, bad := readCerts(t.CA)
		if bad != nil {
			return nil, fmt.Errorf("%sca: %w", prefix, bad)
		}
		c.RootCAs = x509.NewCertPool()
		for _, cert := range certs {
			c.RootCAs.AddCert(cert)
		}
	}
	if t.Cert != "" {
		pair, _, _, bad := readPair(t.Cert, t.Key)
		if bad != nil {
			return nil, fmt.Errorf("%s%s: %w", prefix, bad.key, bad)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

func (l *loader) tls(v value) *TLS {
	f := v.fields("ca", "cert", "key", "server_name", "min_version", "alpn")
	t := &TLS{
		CA: f.at("ca").file(""), Cert: f.at("cert").file(""), Key: f.at("key").file(""),
		ServerName: f.at("server_name").label(""),
		MinVersion: f.at("min_version").tlsVersion(),
	}
	for _, item := range f.at("alpn").list() {
		// RFC 7301: the length of a protocol name is one byte.
		if name := item.label(""); len(name) > 255 {
			item.fail("is longer than 255 bytes", "shorten it")
		} else if name != "" {
			t.ALPN = append(t.ALPN, name)
		}
	}
	cert, key := f.at("cert"), f.at("key")
	cert.names(t.Cert, FileSecret)
	key.names(t.Key, FileSecret)
	if cert.has && !key.has {
		cert.fail("a certificate needs its key", "add key: FILE")
	}
	if key.has && !cert.has {
		key.fail("a key needs its certificate", "add cert: FILE")
	}
	l.tlsFiles(f, t)
	return t
}

func (v value) tlsVersion() uint16 {
	if v.has && v.n.kind == scalar && (v.n.text == "1.0" || v.n.text == "1.1") {
		v.fail("TLS "+v.n.text+" is not safe any more", `write "1.2" or "1.3"`)
		return tls.VersionTLS12
	}
	if v.choice("1.2", "1.3") == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

func (l *loader) tlsFiles(f fields, t *TLS) {
	if t.CA != "" {
		t.CA = l.keptCA(f.at("ca"), t.CA)
		certs, _, bad := readCerts(t.CA)
		f.at("ca").pemProblem(bad)
		f.at("ca").warnExpired(certs)
	}
	if t.Cert == "" || t.Key == "" {
		return
	}
	_, certs, keyInfo, bad := readPair(t.Cert, t.Key)
	if bad != nil {
		f.at(bad.key).pemProblem(bad)
		return
	}
	f.at("cert").warnExpired(certs)
	f.at("key").warnPublic(keyInfo)
}

func (v value) pemProblem(bad *pemError) {
	if bad != nil {
		v.fail(bad.what, bad.fix)
	}
}

func (v value) warnExpired(certs []*x509.Certificate) {
	now := v.l.opts.Now
	if now.IsZero() {
		return
	}
	for _, c := range certs {
		end := c.NotAfter.UTC().Format(time.DateOnly)
		switch {
		case now.After(c.NotAfter):
			v.warn(fmt.Sprintf("the certificate of %s expired on %s", shown(c.Subject.CommonName), end), "renew it, or set this machine's clock")
		case ExpiresSoon(c, now):
			v.warn(fmt.Sprintf("the certificate of %s ends on %s", shown(c.Subject.CommonName), end), "renew it")
		}
	}
}

// expiresSoon is when a certificate is reported: three weeks before its end, or
// when a quarter of its life is left if it lives less long than twelve weeks.
// Whoever renews by a machine does so earlier.
const expiresSoon = 21 * 24 * time.Hour

// ExpiresSoon reports whether the end of a certificate is near, or has come: check
// warns of it, and the alarm certificate_expires is raised.
func ExpiresSoon(c *x509.Certificate, now time.Time) bool {
	return c.NotAfter.Sub(now) < min(expiresSoon, c.NotAfter.Sub(c.NotBefore)/4)
}

// pemError is what is wrong with a file of certificates or keys.
type pemError struct {
	_ [0]func() // nobody compares them: saves the code for it

	key, what, fix string
}

// Error returns what is wrong and what to do about it.
func (e *pemError) Error() string { return e.what + "; " + e.fix }

// readCerts returns the certificates in a PEM file.
func readCerts(path string) ([]*x509.Certificate, []byte, *pemError) {
	data, _, err := readPEM(path)
	if err != nil {
		what, fix := fileTrouble(path, err)
		return nil, nil, &pemError{key: "cert", what: what, fix: fix}
	}
	var certs []*x509.Certificate
	isKey := false
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		isKey = isKey || strings.HasSuffix(block.Type, "PRIVATE KEY")
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, &pemError{key: "cert", what: fmt.Sprintf("%s holds a damaged certificate: %v", path, err), fix: "copy it again"}
		}
		certs = append(certs, cert)
	}
	// package pem passes over what it cannot read.
	if begun := bytes.Count(data, []byte("-----BEGIN CERTIFICATE-----")); begun > len(certs) && len(certs) > 0 {
		return nil, nil, &pemError{key: "cert", what: fmt.Sprintf("%s holds %d certificates, of which %d cannot be read", path, begun, begun-len(certs)), fix: "copy it again"}
	}
	switch {
	case len(certs) == 0 && isKey:
		return nil, nil, &pemError{key: "cert", what: path + " is a private key, not a certificate", fix: "name the certificate here and the key under key"}
	case len(certs) == 0:
		return nil, nil, &pemError{key: "cert", what: path + " holds no PEM certificate", fix: "name a file that has BEGIN CERTIFICATE in it"}
	}
	return certs, data, nil
}

// readPEM reads a file of certificates or keys. Files that were put together
// may have a byte order mark before each of them, which hides what follows.
func readPEM(path string) ([]byte, fs.FileInfo, error) {
	data, info, err := readRegular(path, maxPEM)
	return bytes.ReplaceAll(data, bom, nil), info, err
}

// ReadPair returns a certificate with its key, of PEM files as people make them.
func ReadPair(certPath, keyPath string) (tls.Certificate, error) {
	pair, _, _, bad := readPair(certPath, keyPath)
	if bad != nil {
		return tls.Certificate{}, bad
	}
	return pair, nil
}

// readPair returns a certificate with its key.
func readPair(certPath, keyPath string) (tls.Certificate, []*x509.Certificate, fs.FileInfo, *pemError) {
	fail := func(key, what, fix string) (tls.Certificate, []*x509.Certificate, fs.FileInfo, *pemError) {
		return tls.Certificate{}, nil, nil, &pemError{key: key, what: what, fix: fix}
	}
	certs, certPEM, bad := readCerts(certPath)
	if bad != nil {
		return tls.Certificate{}, nil, nil, bad
	}
	keyPEM, info, err := readPEM(keyPath)
	if err != nil {
		what, fix := fileTrouble(keyPath, err)
		return fail("key", what, fix)
	}
	key, what, fix := parseKey(keyPath, keyPEM)
	if what != "" {
		return fail("key", what, fix)
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certs[0].PublicKey) {
		return fail("key", fmt.Sprintf("%s is not the key of the certificate %s", keyPath, certPath), "name the key the certificate was made for")
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fail("cert", fmt.Sprintf("%s and %s cannot be used: %v", certPath, keyPath, err), "make them again")
	}
	return pair, certs, info, nil
}

// parseKey returns the private key in a PEM file.
func parseKey(path string, data []byte) (key crypto.Signer, what, fix string) {
	isCert := false
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case block.Type == "CERTIFICATE":
			isCert = true
			continue
		case block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED"):
			return nil, path + " is encrypted, and nobody is there to type its passphrase", "decrypt it: openssl pkey -in FILE -out NEWFILE"
		case !strings.HasSuffix(block.Type, "PRIVATE KEY"):
			continue
		}
		if key := parseKeyBlock(block.Bytes); key != nil {
			return key, "", ""
		}
		return nil, path + " holds a damaged key, or one of a kind that is not known", "make an ECDSA, Ed25519 or RSA key"
	}
	if isCert {
		return nil, path + " is a certificate, not a private key", "name the key here and the certificate under cert"
	}
	return nil, path + " holds no PEM private key", "name a file that has BEGIN PRIVATE KEY in it"
}

func parseKeyBlock(der []byte) crypto.Signer {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		signer, _ := key.(crypto.Signer)
		return signer
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key
	}
	return nil
}
