package payload

// AppendHealth appends the body of a health record: what a source, or the
// gateway itself, says of how it fares. Members are those of a JSON object,
// without its braces.
func AppendHealth(dst, members []byte) []byte {
	return append(append(dst, typeHealth), members...)
}

// Audit is one thing that somebody did, or was refused, through a door of the
// gateway. Empty members are left out.
type Audit struct {
	Action string // login, login_refused, logout, setup, denied, scan, bundle, ...
	Who    string // account; empty: nobody has proved to be anybody
	By     string // the door: web, cli, mqtt
	From   string // address
	Detail string
	More   uint64 // further ones that were not told, since the last that was
}

// AppendAudit appends the body of an audit record.
func AppendAudit(dst []byte, a *Audit) []byte {
	dst = append(dst, typeAudit)
	dst = appendString(append(dst, `"action":`...), a.Action)
	for _, m := range []struct{ name, value string }{{"who", a.Who}, {"by", a.By}, {"from", a.From}, {"detail", a.Detail}} {
		if m.value != "" {
			dst = appendString(append(append(append(dst, `,"`...), m.name...), `":`...), m.value)
		}
	}
	if a.More > 0 {
		dst = appendUint(append(dst, `,"more":`...), a.More)
	}
	return dst
}
