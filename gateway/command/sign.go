package command

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
)

// SignedText is what a signature of a request is over. Texts stand as they were
// sent, what is missing as nothing; expect stands there only if it was sent.
func SignedText(gateway, who string, r *Request) []byte {
	point := r.Point
	if r.Read != "" {
		point = r.Read
	}
	lines := []string{"1", gateway, who, r.ID, point, string(r.Value), r.Issued, r.TTL, r.Epoch}
	if len(r.Expect) > 0 {
		lines = append(lines, string(r.Expect))
	}
	return []byte(strings.Join(lines, "\n"))
}

// signed says who has signed a request. With signers nothing of a broker is
// taken without: whoever holds the broker could have written it.
func (e *Engine) signed(a Actor, r *Request) (signer string, no *Refusal) {
	if r.Sig == "" {
		if a.By == ByMQTT && len(e.cfg.Signers) > 0 {
			return "", refuse(Signature, "it is not signed, and commands.signers asks for that")
		}
		return "", nil
	}
	name, text, _ := strings.Cut(r.Sig, ":")
	key, known := e.cfg.Signers[name]
	if !known {
		return "", refuse(Signature, "its signer is not one of commands.signers")
	}
	sig, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !ed25519.Verify(key, SignedText(e.cfg.Gateway, a.Who, r), sig) {
		return "", refuse(Signature, "its signature is not right for what it says, to whom and by whom")
	}
	return name, nil
}
