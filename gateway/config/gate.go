package config

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"fieldferry/uplink"
)

// Header is one of the WebSocket handshake. Its value is a secret.
type Header struct {
	_ [0]func() // nobody compares them: saves the code for it

	Name  string
	Value Secret // when not in File
	File  string
}

const (
	maxHeaders = 32
	// proxyEnvironment says that the environment names the proxy.
	proxyEnvironment = "environment"
)

// ReadHeaders returns the headers as they are now.
func (u Uplink) ReadHeaders() (http.Header, error) {
	all := http.Header{}
	for _, h := range u.Headers {
		value := h.Value.Reveal()
		if h.File != "" {
			var err error
			if value, err = ReadSecret(h.File); err == nil && !isHeaderValue(value) {
				err = fmt.Errorf("%s contains control characters; write the value into it, on one line", h.File)
			}
			if err != nil {
				return nil, fmt.Errorf("uplink.headers.%s: %w", h.Name, err)
			}
		}
		all.Set(h.Name, value)
	}
	return all, nil
}

// ProxyTo returns the proxy on the way to a server, nil for none.
func (u Uplink) ProxyTo(s uplink.Server) (*url.URL, error) {
	switch text := u.Proxy.Reveal(); text {
	case "":
		return nil, nil
	case proxyEnvironment:
		scheme := "http"
		if s.Scheme == "mqtts" || s.Scheme == "wss" {
			scheme = "https"
		}
		return http.ProxyFromEnvironment(&http.Request{URL: &url.URL{Scheme: scheme, Host: s.Address()}})
	default:
		return url.Parse(text)
	}
}

// headers reads the headers of the WebSocket handshake.
func (l *loader) headers(v value, servers []string) (list []Header) {
	if !v.has || !v.is(object) {
		return nil
	}
	v.located()
	if len(v.n.fields) > maxHeaders {
		v.fail(fmt.Sprintf("has more than %d headers", maxHeaders), "remove some")
		return nil
	}
	seen := map[string]bool{}
	for _, f := range v.n.fields {
		name := http.CanonicalHeaderKey(f.key)
		item := value{l, join(v.path, printable(f.key)), f.value, true}
		switch {
		case !isToken(f.key):
			item.fail("is not the name of a header", "write such as Authorization")
		case ownHeader(name):
			item.fail("is a header that the handshake sets itself", "remove it")
		case seen[name]:
			item.fail("is there twice", "remove one of them")
		default:
			seen[name] = true
			if h, ok := l.header(item); ok {
				h.Name = name
				list = append(list, h)
			}
		}
	}
	web := false
	for _, s := range servers {
		web = web || strings.HasPrefix(s, "ws")
	}
	if !web && len(servers) > 0 {
		v.warn("no server is ws or wss, so that no header is sent", "remove headers, or use wss")
	}
	return list
}

// header reads one value: a text, or {file: PATH}.
func (l *loader) header(v value) (h Header, ok bool) {
	if v.n.kind == object {
		file := v.fields("file").need("file", "write {file: PATH}")
		h.File = file.file("")
		file.names(h.File, FileSecret)
		if h.File == "" {
			return h, false
		}
		text, info, err := readSecret(h.File)
		switch {
		case err != nil:
			file.fail(secretTrouble(h.File, err))
			return h, false
		case !isHeaderValue(text):
			file.fail(h.File+" contains control characters", "write the value into it, on one line")
			return h, false
		}
		file.warnPublic(info)
		return h, true
	}
	if !v.is(scalar) {
		return h, false
	}
	switch {
	case v.n.text == "":
		v.fail("is empty", "give it a value or remove the key")
		return h, false
	case len(v.n.text) > maxString || !isHeaderValue(v.n.text):
		v.fail("is too long, or contains control characters", "correct it")
		return h, false
	case v.public():
		v.warn("everybody on this machine can read the header in this file", "use {file: PATH}, ${VAR}, or mode 0640")
	}
	h.Value = NewSecret(v.n.text)
	return h, true
}

// isToken says whether a text can be the name of a header (RFC 9110, 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	})
}

// isHeaderValue says whether a text can be the value of one (RFC 9110, 5.5).
func isHeaderValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// ownHeader is true for those that make the handshake.
func ownHeader(name string) bool {
	switch name {
	case "Connection", "Upgrade", "Content-Length", "Transfer-Encoding":
		return true
	}
	return strings.HasPrefix(name, "Sec-Websocket-")
}

// proxy reads the URL of an HTTP proxy. What it reports shows no user.
func (l *loader) proxy(v value) Secret {
	if !v.has || !v.is(scalar) || v.n.text == proxyEnvironment {
		if v.has && v.n.kind == scalar {
			return NewSecret(v.n.text)
		}
		return Secret{}
	}
	const example = "write such as http://proxy.example:3128, or environment"
	u, err := url.Parse(v.n.text)
	switch {
	case err != nil:
		v.fail("is not a URL", example)
	case u.Scheme != "http":
		v.fail("is not a proxy with http://", example)
	case u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		v.fail("is not the address of a proxy", example)
	default:
		if _, has := u.User.Password(); has && v.public() {
			v.warn("everybody on this machine can read the password in this file", "use ${VAR}, or mode 0640")
		}
		return NewSecret(v.n.text)
	}
	return Secret{}
}
