package daemon

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"fieldferry/gateway/remote"
)

// key writes the public half of a new key into a file of the site.
func (s *site) key(file string) ed25519.PrivateKey {
	s.t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(file, string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
	return private
}

// signs sends a document that a signer has signed, and waits for its end.
func (s *site) signs(d *Daemon, version int64, text, signer string, key ed25519.PrivateKey) told {
	s.t.Helper()
	document := fmt.Sprintf(`{"v":1,"version":%d,"sha256":%q,"content":%q,"watch":"5s"`, version, sum([]byte(text)), text)
	parsed, err := remote.Parse([]byte(document + "}"))
	if err != nil {
		s.t.Fatal(err)
	}
	sig := base64.StdEncoding.EncodeToString(ed25519.Sign(key, remote.SignedText("g", parsed)))
	return s.desire(d, version, text, fmt.Sprintf(`,"watch":"5s","sig":%q`, signer+":"+sig))
}

// Whoever has lost a key replaces it by a document signed with another one. Whoever
// has lost all of them does it at the site.
func TestLostSigners(t *testing.T) {
	t.Parallel()
	_, s, lines := brokered(t)
	lost, spare, fresh := s.key("lost.pub"), s.key("spare.pub"), s.key("fresh.pub")
	site := lines[0] + lines[1] + lines[4] + lines[5] + "remote_config: {mode: apply, allow: [can, commands]}\ncommands:\n  signers: {ops: lost.pub, spare: spare.pub}\n"
	s.put("f.yaml", site)
	d, stop := s.run()
	replaced := strings.Replace(site, "ops: lost.pub", "ops: fresh.pub", 1)
	if r := s.signs(d, 1, replaced, "ops", fresh); r.State != "rejected" || r.Code != "signature" {
		t.Errorf("signed with a key that is not known yet: %+v", r)
	}
	if r := s.signs(d, 2, replaced, "spare", spare); r.State != "confirmed" || r.Running != sum([]byte(replaced)) {
		t.Fatalf("signed with the other key: %+v", r)
	}
	other := strings.Replace(replaced, "rate=10", "rate=11", 1)
	if r := s.signs(d, 3, other, "ops", lost); r.State != "rejected" || r.Code != "signature" {
		t.Errorf("signed with the key that was lost: %+v", r)
	}
	if r := s.signs(d, 4, other, "ops", fresh); r.State != "confirmed" {
		t.Errorf("signed with the new key: %+v", r)
	}
	stop()
	// All are lost: the site's file, edited, wins at the next start or reload.
	another := s.key("another.pub")
	site = strings.Replace(site, "ops: lost.pub, spare: spare.pub", "ops: another.pub", 1)
	s.put("f.yaml", site)
	d, stop = s.run()
	defer stop()
	if r := s.reports(d, func(r told) bool { return r.State == "overridden" }); r.Running != sum([]byte(site)) {
		t.Errorf("%+v", r)
	}
	if r := s.signs(d, 5, strings.Replace(site, "rate=10", "rate=12", 1), "ops", another); r.State != "confirmed" {
		t.Errorf("signed with the key of the site: %+v", r)
	}
}

// With another gateway.id the topics are others too, and the way back leads to the
// old ones. The client id has to stay, unless uplink may change.
func TestAnotherGatewayID(t *testing.T) {
	t.Parallel()
	broker, s, lines := brokered(t)
	site := lines[0] + lines[1] + lines[4] + strings.Replace(lines[5], "uplink: {", "uplink: {client_id: cabinet, ", 1) + fromAfar
	s.put("f.yaml", site)
	d, stop := s.run()
	defer stop()
	reported := func(id string) (r told) {
		_ = json.Unmarshal(broker.Retained("fieldferry/"+id+"/config/reported"), &r)
		return r
	}
	at := func(id, running string) {
		t.Helper()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for reported(id).Running != running || reported(id).State != "confirmed" {
			select {
			case <-t.Context().Done():
				t.Fatalf("at %s: %+v", id, reported(id))
			case <-tick.C:
			}
		}
	}
	if r := s.desire(d, 1, strings.Replace(strings.Replace(site, "client_id: cabinet, ", "", 1), "id: g,", "id: h,", 1), ""); r.Code != "not_allowed" || !strings.Contains(fmt.Sprint(r.Problems), "uplink") {
		t.Errorf("with another client id: %+v", r)
	}
	renamed := strings.Replace(site, "id: g,", "id: h,", 1)
	if r := s.desire(d, 2, renamed, `,"watch":"5s"`); r.State != "confirmed" {
		t.Fatalf("%+v", r)
	}
	at("h", sum([]byte(renamed)))
	next := fmt.Appendf(nil, `{"version":3,"rollback":true,"watch":"5s"}`)
	if err := broker.Publish("fieldferry/h/config/desired", next); err != nil {
		t.Fatal(err)
	}
	at("g", sum([]byte(site)))
}

// Whoever holds the broker gets no file of the gateway by it: a document that nobody
// has signed names no other secret than there is, and its broker is not even asked.
func TestNoSecretIsSentElsewhere(t *testing.T) {
	t.Parallel()
	_, s, lines := brokered(t)
	key := s.key("ops.pub")
	s.put("shadow", "hunter2")
	thief, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	var asked atomic.Int32
	go func() {
		for {
			c, err := thief.Accept()
			if err != nil {
				return
			}
			asked.Add(1)
			_ = c.Close()
		}
	}()
	site := lines[0] + lines[1] + lines[4] + lines[5] + "remote_config: {mode: apply, allow: [can, uplink]}\n"
	signers := "commands:\n  signers: {ops: ops.pub}\n"
	elsewhere := lines[0] + lines[1] + lines[4] + "uplink: {servers: [\"mqtt://" + thief.Addr().String() + "\"], username: u, password_file: shadow}\n" + "remote_config: {mode: apply, allow: [can, uplink]}\n"
	s.put("f.yaml", site)
	d, stop := s.run()
	r := s.desire(d, 1, elsewhere, "")
	if r.State != "rejected" || r.Code != "secret" || !strings.Contains(fmt.Sprint(r.Problems), "uplink.password_file") || asked.Load() != 0 {
		t.Errorf("not signed: %+v, asked %d times", r, asked.Load())
	}
	stop()
	s.put("f.yaml", site+signers)
	d, stop = s.run()
	defer stop()
	if r := s.signs(d, 2, elsewhere+signers, "ops", key); r.Code != "no_uplink" || asked.Load() == 0 {
		t.Errorf("signed: %+v, asked %d times", r, asked.Load())
	}
}
