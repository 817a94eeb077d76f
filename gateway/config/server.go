package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// server is what a broker's URL says.
type server struct {
	tls   bool
	local bool // the broker is on this machine
}

// schemes of brokers, and whether they encrypt.
var schemes = map[string]bool{"mqtt": false, "mqtts": true, "ws": false, "wss": true}

// elsewhere are schemes of other programs, with ours.
var elsewhere = map[string]string{
	"tcp": "mqtt", "ssl": "mqtts", "tls": "mqtts", "mqtt+ssl": "mqtts", "mqtt+tls": "mqtts", "http": "ws", "https": "wss",
}

const serverExample = "write such as mqtts://broker.example:8883"

// parseServer checks a broker's URL and says what is wrong with it. The
// message shows no user name or password.
func parseServer(text string) (s server, what, fix string) {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok {
		return s, hideUser(text) + " has no scheme", "write mqtt:// or mqtts:// before it"
	}
	encrypted, known := schemes[scheme]
	if !known {
		fix = "use mqtt, mqtts, ws or wss"
		if ours, ok := elsewhere[strings.ToLower(scheme)]; ok {
			fix = "write " + ours + "://"
		} else if _, ok := schemes[strings.ToLower(scheme)]; ok {
			fix = "write " + strings.ToLower(scheme) + "://"
		}
		return s, fmt.Sprintf("the scheme %s is not known", shown(scheme)), fix
	}
	s.tls = encrypted
	authority, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	switch {
	case strings.Contains(rest, "@"):
		return s, hideUser(text) + " contains a user name or password", "use username and password_file"
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || !unicode.IsPrint(r) }):
		return s, hideQuery(text) + " contains a space or control character", "remove it"
	case path != "" && path != "/" && !strings.HasPrefix(scheme, "ws"):
		return s, hideQuery(text) + " has something after the port", "remove it; only ws and wss have a path"
	case path != "" && path[0] != '/' || strings.Contains(path, "#") || badEscape(path):
		return s, hideQuery(text) + " has a path that cannot be read", "write such as wss://broker.example/mqtt"
	}
	s.local, what, fix = parseAuthority(authority)
	return s, what, fix
}

// parseAuthority checks HOST, HOST:PORT or [IPv6]:PORT.
func parseAuthority(text string) (local bool, what, fix string) {
	host, port, hasPort := text, "", false
	if strings.HasPrefix(text, "[") {
		inside, after, closed := strings.Cut(text[1:], "]")
		addr, err := netip.ParseAddr(inside)
		if !closed || err != nil || !addr.Is6() || after != "" && after[0] != ':' {
			return false, shown(text) + " is no IPv6 address in brackets", "write such as mqtt://[2001:db8::1]:1883"
		}
		local, host = addr.IsLoopback(), inside
		port, hasPort = strings.TrimPrefix(after, ":"), after != ""
	} else {
		if strings.Count(text, ":") > 1 {
			return false, shown(text) + " looks like an IPv6 address without brackets", "write such as mqtt://[2001:db8::1]:1883"
		}
		host, port, hasPort = strings.Cut(text, ":")
		if what := hostTrouble(host); what != "" {
			return false, what, serverExample
		}
		addr, err := netip.ParseAddr(host)
		local = host == "localhost" || err == nil && addr.IsLoopback()
	}
	if !hasPort {
		return local, "", ""
	}
	n, err := strconv.ParseUint(port, 10, 64)
	if err != nil || n < 1 || n > 65535 || port[0] == '0' || port[0] == '+' {
		return local, fmt.Sprintf("%s is no port of %s", shown(port), printable(host)), "write a port from 1 to 65535, usually 1883, or 8883 for mqtts"
	}
	return local, "", ""
}

func hostTrouble(host string) string {
	if host == "" {
		return "the URL names no host"
	}
	if len(host) > 253 {
		return "the host name is longer than 253 characters"
	}
	bad := strings.ContainsFunc(host, func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	if bad || strings.HasPrefix(host, ".") || strings.HasPrefix(host, "-") || strings.Contains(host, "..") {
		return shown(host) + " is no host name"
	}
	return ""
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

func badEscape(path string) bool {
	_, err := url.Parse(path)
	return err != nil
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
