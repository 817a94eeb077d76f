package gateway

import (
	"context"
	"os"
	"time"

	"fieldferry/gateway/config"
)

// secretsInterval is how often the uplink's files are looked at. A renewed
// certificate is usually put there weeks before the old one ends.
const secretsInterval = 10 * time.Second

// watchSecrets connects anew when the password or a certificate was replaced,
// until ctx ends: a connection that lives for months would never show the
// new certificate, and a refused one would wait for its long pause to end.
func (g *Gateway) watchSecrets(ctx context.Context) {
	files := secretFiles(&g.cfg.Uplink)
	if len(files) == 0 {
		return
	}
	last := stampsOf(files)
	for {
		sleep(ctx, secretsInterval)
		if ctx.Err() != nil {
			return
		}
		now := stampsOf(files)
		if now.same(last) || !g.readable() {
			continue
		}
		last = now
		g.log.Info("password or certificates have changed")
		g.uplink.Reconnect()
	}
}

// readable says whether the files are whole: they are often replaced one by
// one, and a certificate without its key is worse than the old pair.
func (g *Gateway) readable() bool {
	_, err := g.cfg.Uplink.ReadPassword()
	if err == nil {
		_, err = g.cfg.Uplink.TLSConfig()
	}
	if err == nil {
		_, err = g.cfg.Uplink.ReadHeaders()
	}
	if err != nil {
		g.log.Debug("password or certificates have changed and cannot be used yet", "error", err)
	}
	return err == nil
}

func secretFiles(u *config.Uplink) (files []string) {
	named := []string{u.PasswordFile}
	if u.TLS != nil {
		named = append(named, u.TLS.CA, u.TLS.Cert, u.TLS.Key)
	}
	for _, h := range u.Headers {
		named = append(named, h.File)
	}
	for _, f := range named {
		if f != "" {
			files = append(files, f)
		}
	}
	return files
}

// stamps tell whether files have changed; a file that is missing has the zero
// stamp.
type stamps []stamp

type stamp struct {
	_ [0]func() // nobody compares them: saves the code for it

	info os.FileInfo
	size int64
	at   time.Time
}

func stampsOf(files []string) stamps {
	out := make(stamps, len(files))
	for i, f := range files {
		if info, err := os.Stat(f); err == nil {
			out[i] = stamp{info: info, size: info.Size(), at: info.ModTime()}
		}
	}
	return out
}

func (s stamps) same(other stamps) bool {
	for i, a := range s {
		b := other[i]
		if (a.info == nil) != (b.info == nil) {
			return false
		}
		if a.info != nil && (a.size != b.size || !a.at.Equal(b.at) || !os.SameFile(a.info, b.info)) {
			return false
		}
	}
	return true
}
