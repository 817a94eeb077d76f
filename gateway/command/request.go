package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// What a request may have.
const (
	MaxRequest = 32 << 10 // bytes
	maxID      = 64
	maxName    = 256 // bytes of a point, an epoch, a reason, a signature
	maxValue   = 1024
)

// Request is what somebody asks for: to write a point, or to read something.
type Request struct {
	ID     string          // 1 to 64 of A-Za-z0-9._:-; unique for each actor
	Point  string          // to write
	Value  json.RawMessage // as it was sent
	Expect json.RawMessage // the value that has to be there before; empty: any
	Read   string          // to read; then Point and Value are empty
	Issued string          // RFC 3339
	TTL    string          // such as 30s
	Epoch  string          // from the status message
	Reason string          // for the account
	Sig    string          // signer:base64
	Expiry time.Duration   // left by the transport; 0: it says nothing
	Replay bool            // the transport has kept it: it was not sent now

	issued time.Time
	ttl    time.Duration
}

// ParseRequest reads a request: one JSON object with known members, none twice.
func ParseRequest(text []byte) (*Request, error) {
	if len(text) > MaxRequest {
		return nil, fmt.Errorf("it has %d bytes; at most %d are taken", len(text), MaxRequest)
	}
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	r := &Request{}
	var version json.RawMessage
	members := map[string]any{
		"v": &version, "id": &r.ID, "point": &r.Point, "value": &r.Value, "expect": &r.Expect, "read": &r.Read,
		"issued": &r.Issued, "ttl": &r.TTL, "epoch": &r.Epoch, "reason": &r.Reason, "sig": &r.Sig,
	}
	seen, err := ParseObject(text, members)
	switch {
	case err != nil:
		return r, err
	case seen["v"] && string(version) != "1":
		return r, fmt.Errorf("v is %.20s; this gateway knows version 1", version)
	}
	return r, r.check(seen)
}

// ParseObject reads the members of an object strictly: encoding/json would ignore
// case, take the last of two, and null for anything.
func ParseObject(text []byte, members map[string]any) (seen map[string]bool, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("it is not a JSON object")
	}
	seen = map[string]bool{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return seen, notJSON(err)
		}
		name, _ := t.(string)
		into, is := members[name]
		switch {
		case !is:
			return seen, fmt.Errorf("member %.40q is not known", name)
		case seen[name]:
			return seen, fmt.Errorf("member %q is there twice", name)
		}
		seen[name] = true
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return seen, notJSON(err)
		}
		if err := take(name, value, into); err != nil {
			return seen, err
		}
	}
	if _, err := d.Token(); err != nil {
		return seen, notJSON(err)
	}
	if _, err := d.Token(); err != io.EOF {
		return seen, errors.New("something follows the JSON object")
	}
	return seen, nil
}

func take(name string, value json.RawMessage, into any) error {
	if raw, is := into.(*json.RawMessage); is {
		*raw = value
		return nil
	}
	if len(value) == 0 || value[0] != '"' || json.Unmarshal(value, into) != nil {
		return fmt.Errorf("%s is not a text", name)
	}
	return nil
}

func notJSON(err error) error { return fmt.Errorf("it is not JSON: %w", err) }

// check looks at the members' form. What is said about r's id is right even if
// the rest is wrong, so that an answer can name it.
func (r *Request) check(seen map[string]bool) error {
	for name, text := range map[string]string{"point": r.Point, "read": r.Read, "epoch": r.Epoch, "reason": r.Reason, "sig": r.Sig} {
		if len(text) > maxName {
			return fmt.Errorf("%s has more than %d bytes", name, maxName)
		}
	}
	switch {
	case !validID(r.ID):
		r.ID = ""
		return errors.New("id must have 1 to 64 characters of A-Z a-z 0-9 . _ : -")
	case seen["read"] && (seen["point"] || seen["value"] || seen["expect"]):
		return errors.New("read stands alone: it is a request to read, point and value are one to write")
	case seen["read"] && r.Read == "", !seen["read"] && r.Point == "":
		return errors.New(`point (or read) is missing; write "point": "NAME", "value": 1`)
	case !seen["read"] && len(r.Value) == 0:
		return errors.New("value is missing")
	case len(r.Value) > maxValue || len(r.Expect) > maxValue:
		return fmt.Errorf("a value has more than %d bytes", maxValue)
	}
	return r.checkTimes(seen)
}

// checkTimes takes an empty time for a wrong one: whoever sends it meant to say
// how old the request is.
func (r *Request) checkTimes(seen map[string]bool) (err error) {
	if seen["issued"] {
		if r.issued, err = time.Parse(time.RFC3339Nano, r.Issued); err != nil {
			return errors.New("issued is not a time such as 2026-11-25T20:50:00Z")
		}
	}
	if seen["ttl"] {
		if r.ttl, err = time.ParseDuration(r.TTL); err != nil || r.ttl <= 0 {
			return errors.New("ttl is not a time such as 30s")
		}
	}
	return nil
}

func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	return strings.Trim(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-") == ""
}

// compact is a JSON value without spaces, as values are compared and kept.
func compact(value json.RawMessage) json.RawMessage {
	if len(value) == 0 {
		return nil
	}
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return value
	}
	return b.Bytes()
}
