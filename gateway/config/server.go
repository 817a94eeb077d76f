package config

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"unicode"

	"fieldferry/uplink"
)

// server checks a broker's URL. What it reports shows no user name, password
// or signature.
func (v value) server(text string) (s uplink.Server, ok bool) {
	scheme, rest, found := strings.Cut(text, "://")
	s, err := uplink.ParseServer(text)
	var wrong *uplink.ServerError
	switch {
	case !found:
		v.fail(hideUser(text)+" has no scheme", "write mqtt:// or mqtts:// before it")
	case strings.Contains(rest, "@"):
		v.fail(hideUser(text)+" contains a user name or password", "use username and password_file")
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || !unicode.IsPrint(r) }):
		v.fail(hideQuery(text)+" contains a space or control character", "remove it")
	case errors.As(err, &wrong):
		v.fail(hideQuery(text)+" "+wrong.What, wrong.Fix)
	case scheme != s.Scheme: // one of other programs, or in capitals
		v.fail(fmt.Sprintf("the scheme %s is not known", shown(scheme)), "write "+s.Scheme+"://")
	default:
		return s, err == nil
	}
	return s, false
}

// isLocal says that a host is this machine.
func isLocal(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// hideQuery shows a URL without what stands after its ?, which may be a
// signature, and without what stands before its @.
func hideQuery(text string) string {
	text, query, ok := strings.Cut(text, "?")
	if ok && query != "" {
		text += "?" + masked
	}
	return hideUser(text)
}

// hideUser shows a URL without what stands before its @.
func hideUser(text string) string {
	i := strings.LastIndexByte(text, '@')
	if i < 0 {
		return shown(text)
	}
	scheme, _, ok := strings.Cut(text[:i], "://")
	if !ok {
		return shown(masked + text[i:])
	}
	return shown(scheme + "://" + masked + text[i:])
}
