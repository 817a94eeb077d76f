package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"strings"
	"time"
)

const tlsFile = "web-tls.pem"

// A certificate that is made before the clock is trusted must not be invalid
// once it is.
var (
	certFrom = time.Date(1970, 1, 2, 0, 0, 0, 0, time.UTC)
	certTo   = time.Date(2099, 12, 31, 0, 0, 0, 0, time.UTC)
)

// fingerprint is how browsers show it.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ToUpper(strings.Trim(fmt.Sprintf("% x", sum[:]), " "))
}

// ownCertificate is the gateway's own, made at the first start and kept.
func ownCertificate(files Files) (tls.Certificate, error) {
	b, err := files.Read(tlsFile)
	if err == nil {
		return tls.X509KeyPair(b, b)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return tls.Certificate{}, err
	}
	if b, err = makeCertificate(); err != nil {
		return tls.Certificate{}, err
	}
	if err = files.Write(tlsFile, b); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(b, b)
}

func makeCertificate() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "fieldferry"},
		NotBefore:    certFrom, NotAfter: certTo,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		DNSNames:              []string{"localhost", "fieldferry"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(out, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...), nil
}
