package remote

import (
	"crypto/ed25519"
	"encoding/base64"
	"testing"
	"testing/synctest"
)

// Whoever can publish a document can have it refused: it is said of which one, why
// and, if anybody knows, whose it is, and that what runs is what ran.
func TestRefusedLeavesNoDoubt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		public, private, err := ed25519.GenerateKey(nil)
		if err != nil {
			t.Fatal(err)
		}
		set := apply
		set.Signers = map[string]ed25519.PublicKey{"ops": public}
		s := newStand(t, &disk{files: map[string][]byte{}}, set)
		defer s.stop()
		signed := func(version int, content string) string {
			d, err := Parse([]byte(document(version, content, "")))
			if err != nil {
				t.Fatal(err)
			}
			return document(version, content, `,"sig":"ops:`+base64.StdEncoding.EncodeToString(ed25519.Sign(private, SignedText("gw", d)))+`"`)
		}
		says := func(state State, want string) {
			t.Helper()
			synctest.Wait()
			if got, said := s.agent.Last(); got != string(state) || said != want {
				t.Errorf("%s, %q; want %s, %q", got, said, state, want)
			}
		}
		says("", "")
		s.send(document(9, "forged", ""))
		says(Rejected, "version 9: rejected (signature); what runs has stayed, by file")
		s.result <- nil
		s.send(signed(5, "a"))
		says(Confirmed, "version 5, signed by ops: confirmed")
		s.send(document(9, "forged", ""))
		says(Rejected, "version 9: rejected (signature); what runs has stayed, by mqtt:ops, version 5")
		s.send("{")
		says(Rejected, "version 0: rejected (invalid); what runs has stayed, by mqtt:ops, version 5")
		s.send(signed(4, "b"))
		says(Rejected, "version 4, signed by ops: rejected (old); what runs has stayed, by mqtt:ops, version 5")
		s.result <- &Failure{State: Rejected, Code: NotAllowed}
		s.send(signed(6, "c"))
		says(Rejected, "version 6, signed by ops: rejected (not_allowed); what runs has stayed, by mqtt:ops")
		s.result <- &Failure{State: RolledBack, Code: Worse}
		s.send(signed(7, "d"))
		says(RolledBack, "version 7, signed by ops: rolled back (worse); what runs is by mqtt:ops")
	})
}
