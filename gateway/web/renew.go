package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
	"time"
)

// renewEvery is how often the files of the certificate are looked at. Whoever
// renews a certificate does so days before its end, and need not tell anybody.
const renewEvery = time.Minute

// shown is the certificate that the server shows.
type shown struct {
	_ [0]func() // nobody compares them: saves the code for it

	now   atomic.Pointer[tls.Certificate] // nil: the server does not speak TLS
	files [2]os.FileInfo                  // as they were before they were last read; nil: not there
	again chan struct{}                   // the files are to be read whatever they look like
}

// tlsConfig is nil where the server does not speak TLS.
func (s *Server) tlsConfig() (*tls.Config, error) {
	if !s.cfg.encrypted() {
		return nil, nil
	}
	s.shown.files = s.pairFiles()
	cert, err := s.pair()
	if err != nil {
		return nil, fmt.Errorf("certificate of the page: %w", err)
	}
	s.show(&cert)
	return &tls.Config{
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return s.shown.now.Load(), nil },
		MinVersion:     tls.VersionTLS12, NextProtos: []string{"http/1.1"},
	}, nil
}

// pair reads the certificate and its key.
func (s *Server) pair() (tls.Certificate, error) {
	if s.cfg.CertFile != "" {
		return s.opts.ReadPair(s.cfg.CertFile, s.cfg.KeyFile)
	}
	return ownCertificate(s.opts.Files)
}

func (s *Server) pairFiles() (files [2]os.FileInfo) {
	for i, path := range []string{s.cfg.CertFile, s.cfg.KeyFile} {
		files[i], _ = os.Stat(path)
	}
	return files
}

// show makes a certificate the one that new connections get.
func (s *Server) show(cert *tls.Certificate) {
	s.shown.now.Store(cert)
	s.log.Info("certificate of the page", "sha256", fingerprint(cert.Certificate[0]), "made_here", s.cfg.CertFile == "")
}

// Renew reads the files of the certificate again. A change of them is noticed
// without it too, within a minute. It may be called from any goroutine.
func (s *Server) Renew() {
	select {
	case s.shown.again <- struct{}{}:
	default: // it is to be done already
	}
}

// follow shows a certificate whose files were replaced, until ctx ends. Until
// they fit together and can be used, the former one is shown.
func (s *Server) follow(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return
		case <-s.shown.again:
			asked = true
		case <-tick.C:
		}
		files := s.pairFiles()
		if !asked && same(files, s.shown.files) {
			continue
		}
		s.shown.files = files
		cert, err := s.pair()
		switch {
		case err != nil:
			s.log.Warn("the new certificate of the page cannot be used; the former one is shown", "error", err)
		case fingerprint(cert.Certificate[0]) != fingerprint(s.shown.now.Load().Certificate[0]):
			s.show(&cert)
			s.tell()
		}
	}
}

// tell reports which certificate is shown.
func (s *Server) tell() {
	if s.opts.Shows == nil {
		return
	}
	var cert *x509.Certificate
	if now := s.shown.now.Load(); now != nil {
		cert = now.Leaf
	}
	s.opts.Shows(cert)
}

// same reports whether files look as they did.
func same(a, b [2]os.FileInfo) bool {
	for i := range a {
		switch {
		case a[i] == nil || b[i] == nil:
			if a[i] != b[i] {
				return false
			}
		case !os.SameFile(a[i], b[i]) || a[i].Size() != b[i].Size() || !a[i].ModTime().Equal(b[i].ModTime()):
			return false
		}
	}
	return true
}
