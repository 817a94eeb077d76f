package remote

import (
	"bytes"
	"compress/gzip"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"fieldferry/gateway/command"
)

// What a document may have.
const (
	MaxDesired = 1 << 20   // bytes of the message
	maxContent = 1 << 20   // bytes of the configuration
	MaxChunk   = 256 << 10 // bytes of a chunk of a part
	maxParts   = 64
	maxName    = 256
	maxVersion = 1<<53 - 1

	// Watch is how long a configuration is tried unless the document says so.
	Watch    = 10 * time.Minute
	minWatch = 5 * time.Second
	maxWatch = 24 * time.Hour
)

// Desired is a document: the configuration that is wanted, or the wish to have
// the former one back.
type Desired struct {
	Version  int64             // 0: none
	Base     string            // name of the configuration that it was made from; empty: any
	SHA256   string            // of Content
	Content  []byte            // YAML
	Watch    string            // as it was sent; empty: [Watch]
	Rollback bool              // Content is empty then
	Parts    map[string]string // SHA-256 by the name that Content has for the file
	Sig      string            // signer:base64

	watch time.Duration
	by    string // whose it is; empty: nobody knows
}

// isSum reports whether a text is a SHA-256 in hex.
func isSum(s string) bool { return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == "" }

// isVersion reports whether a text is a version: 1 to 16 digits without a zero in front.
func isVersion(b []byte) bool {
	return len(b) > 0 && len(b) <= 16 && b[0] != '0' && strings.Trim(string(b), "0123456789") == ""
}

// Parse reads a document. An error leaves in it what could be read.
func Parse(text []byte) (*Desired, error) {
	d := &Desired{}
	if len(text) > MaxDesired {
		return d, fmt.Errorf("it has %d bytes; at most %d are taken", len(text), MaxDesired)
	}
	var v, version, rollback, parts json.RawMessage
	var content, encoding string
	seen, err := command.ParseObject(text, map[string]any{
		"v": &v, "version": &version, "base": &d.Base, "sha256": &d.SHA256, "content": &content, "encoding": &encoding,
		"watch": &d.Watch, "rollback": &rollback, "parts": &parts, "sig": &d.Sig,
	})
	if seen["version"] && isVersion(version) {
		d.Version, _ = strconv.ParseInt(string(version), 10, 64)
	}
	switch {
	case err != nil:
		return d, err
	case seen["v"] && string(v) != "1":
		return d, fmt.Errorf("v is %.20s; this gateway knows version 1", v)
	case seen["version"] && (d.Version == 0 || d.Version > maxVersion):
		return d, errors.New("version is not a whole number from 1 to 9007199254740991")
	case seen["rollback"] && string(rollback) != "true":
		return d, errors.New("rollback is true, or left out")
	case len(d.Sig) > maxName || len(d.Base) > maxName:
		return d, errors.New("sig or base is too long")
	}
	if err := d.readWatch(); err != nil {
		return d, err
	}
	if d.Rollback = seen["rollback"]; d.Rollback {
		if seen["content"] || seen["sha256"] || seen["parts"] {
			return d, errors.New("rollback stands without content, sha256 and parts")
		}
		return d, nil
	}
	if err := d.readParts(parts); err != nil {
		return d, err
	}
	return d, d.readContent(content, encoding)
}

func (d *Desired) readWatch() (err error) {
	d.watch = Watch
	if d.Watch == "" {
		return nil
	}
	if d.watch, err = time.ParseDuration(d.Watch); err != nil || d.watch < minWatch || d.watch > maxWatch {
		return errors.New("watch is not a time from 5s to 24h, such as 10m")
	}
	return nil
}

func (d *Desired) readParts(text json.RawMessage) error {
	if text == nil {
		return nil
	}
	if text[0] != '{' || json.Unmarshal(text, &d.Parts) != nil || len(d.Parts) > maxParts {
		return fmt.Errorf(`parts is not an object of at most %d members such as {"plant.dbc": "SHA-256"}`, maxParts)
	}
	for name, sum := range d.Parts {
		if name == "" || len(name) > maxName || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '=' }) || !isSum(sum) {
			return errors.New("a part is not named by a path, or its SHA-256 is not 64 digits of 0-9 a-f")
		}
	}
	return nil
}

func (d *Desired) readContent(content, encoding string) error {
	switch {
	case d.Version == 0:
		return errors.New("version is missing; write a number that is higher than the last one")
	case content == "":
		return errors.New("content is missing")
	case !isSum(d.SHA256):
		return errors.New("sha256 is not 64 digits of 0-9 a-f: the SHA-256 of the configuration")
	}
	switch encoding {
	case "":
		d.Content = []byte(content)
	case "gzip+base64":
		packed, err := base64.StdEncoding.DecodeString(content)
		if err != nil {
			return errors.New("content is not base64")
		}
		z, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			return errors.New("content is not gzip")
		}
		if d.Content, err = io.ReadAll(io.LimitReader(z, maxContent+1)); err != nil {
			return errors.New("content is damaged gzip")
		}
	default:
		return errors.New("encoding is gzip+base64, or left out")
	}
	if len(d.Content) > maxContent {
		return fmt.Errorf("the configuration has more than %d bytes", maxContent)
	}
	if sum := sha256.Sum256(d.Content); hex.EncodeToString(sum[:]) != d.SHA256 {
		return errors.New("sha256 is not that of the content")
	}
	return nil
}

// SignedText is what the signature of a document is over. Texts stand as they
// were sent, what is missing as nothing.
func SignedText(gateway string, d *Desired) []byte {
	what := "apply"
	if d.Rollback {
		what = "rollback"
	}
	lines := []string{"fieldferry-config", "1", gateway, strconv.FormatInt(d.Version, 10), d.Base, d.SHA256, d.Watch, what}
	for _, name := range slices.Sorted(maps.Keys(d.Parts)) {
		lines = append(lines, name+"="+d.Parts[name])
	}
	return []byte(strings.Join(lines, "\n"))
}

// signed says who has signed a document. With signers nothing is taken without:
// whoever holds the broker could have written it.
func signed(gateway string, signers map[string]ed25519.PublicKey, d *Desired) (signer string, err error) {
	if d.Sig == "" {
		if len(signers) > 0 {
			return "", errors.New("it is not signed, and commands.signers asks for that")
		}
		return "", nil
	}
	name, text, _ := strings.Cut(d.Sig, ":")
	key, known := signers[name]
	if !known {
		return "", errors.New("its signer is not one of commands.signers")
	}
	sig, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !ed25519.Verify(key, SignedText(gateway, d), sig) {
		return "", errors.New("its signature is not right for what it says and for this gateway")
	}
	return name, nil
}
