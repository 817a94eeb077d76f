package record

// AppendHealth appends the body of a health record: how a source, or the gateway
// itself, fares. Members are those of a JSON object, without its braces.
func AppendHealth(dst, members []byte) []byte {
	return append(append(dst, byte(TypeHealth)), members...)
}

// Audit is one thing that somebody did, or was refused, through a door of the
// gateway.
type Audit struct {
	Action string // login, login_refused, logout, setup, denied, scan, bundle, ...
	Who    string // account; empty: nobody has proved to be anybody
	By     string // the door: web, cli, mqtt
	From   string // address
	Detail string
	More   uint64 // further ones that were not told, since the last that was
}

// AppendAudit appends the body of an audit record: each text, then the number.
func AppendAudit(dst []byte, a *Audit) []byte {
	dst = append(dst, byte(TypeAudit))
	for _, s := range []string{a.Action, a.Who, a.By, a.From, a.Detail} {
		dst = appendText(dst, s)
	}
	return appendUint(dst, a.More)
}

// ParseAudit is the inverse of [AppendAudit].
func ParseAudit(body []byte) (a Audit, err error) {
	r := reader{rest: body[1:]}
	for _, s := range []*string{&a.Action, &a.Who, &a.By, &a.From, &a.Detail} {
		*s = r.text()
	}
	a.More = r.uint()
	return a, r.err
}

// Members are the JSON members of a body that consists of them.
func Members(body []byte) []byte { return body[1:] }
