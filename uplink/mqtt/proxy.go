package mqtt

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

var errProxyScheme = errors.New("only proxies with http:// can be used")

// connect opens the connection to a server on which TLS, WebSocket and MQTT go:
// a TCP connection, or a tunnel through an HTTP proxy (RFC 9110, 9.3.6).
func (d *Dialer) connect(ctx context.Context, s Server) (*link, error) {
	if d.Proxy == nil {
		return d.dialTCP(ctx, s.Address())
	}
	via, err := d.Proxy(s)
	switch {
	case err != nil:
		return nil, NewError(ReasonProxy, err)
	case via == nil:
		return d.dialTCP(ctx, s.Address())
	case via.Scheme != "http":
		return nil, NewError(ReasonProxy, errProxyScheme)
	}
	address := net.JoinHostPort(via.Hostname(), cmp.Or(via.Port(), "80"))
	l, err := d.dialTCP(ctx, address)
	if err != nil {
		return nil, ofProxy(address, err)
	}
	stop := context.AfterFunc(ctx, l.kill)
	err = l.tunnel(s.Address(), via.User)
	if !stop() {
		err = dialError(ctx.Err())
	}
	if err != nil {
		l.kill()
		return nil, ofProxy(address, l.note(err))
	}
	l.heard.Store(false) // from here on it is the broker that says something, or nothing
	return l, nil
}

// ofProxy says that it is about the proxy. Its user and password are not in
// the address.
func ofProxy(address string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		if e.Err == nil {
			e.Err = errors.New("proxy " + address)
		} else {
			e.Err = fmt.Errorf("proxy %s: %w", address, e.Err)
		}
	}
	return err
}

// maxProxyAnswer is more than any answer to CONNECT has.
const maxProxyAnswer = 16 << 10

var errProxyAnswer = errors.New("it does not answer like an HTTP proxy")

// tunnel asks the proxy that l leads to for a connection to address.
func (l *link) tunnel(address string, user *url.Userinfo) error {
	ask := "CONNECT " + address + " HTTP/1.1\r\nHost: " + address + "\r\n"
	if user != nil {
		password, _ := user.Password()
		ask += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)) + "\r\n"
	}
	if _, err := l.Write([]byte(ask + "\r\n")); err != nil {
		return NewError(ReasonProxy, err)
	}
	// Byte by byte: what follows is the broker's, or ours.
	var head []byte
	for one := make([]byte, 1); !bytes.HasSuffix(head, []byte("\r\n\r\n")); {
		if len(head) >= maxProxyAnswer {
			return NewError(ReasonProxy, errProxyAnswer)
		}
		n, err := l.Read(one)
		if err != nil {
			return NewError(ReasonProxy, err)
		}
		head = append(head, one[:n]...)
	}
	answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(head)), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return NewError(ReasonProxy, errProxyAnswer)
	}
	_ = answer.Body.Close() // it has none
	said := fmt.Errorf("HTTP status %d", answer.StatusCode)
	switch answer.StatusCode {
	case http.StatusOK:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return NewError(ReasonProxyLogin, said)
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		e := NewError(ReasonProxy, said)
		e.Contact = HungUp // the proxy stands, the broker behind it does not
		return e
	}
	return NewError(ReasonProxy, said)
}

// gateError is what the answer of a web server means that is no WebSocket.
func gateError(r *http.Response) *Error {
	said := fmt.Errorf("HTTP status %d instead of a WebSocket", r.StatusCode)
	switch code := r.StatusCode; {
	case code == http.StatusUnauthorized, code == http.StatusForbidden, code == http.StatusProxyAuthRequired:
		return NewError(ReasonGateLogin, said)
	case code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		e := NewError(ReasonGateAlone, said)
		e.Contact = HungUp
		return e
	case code >= 300 && code < 400:
		return NewError(ReasonRedirect, fmt.Errorf("HTTP status %d, to %s", code, redirected(r)))
	}
	return NewError(ReasonNotMQTT, said)
}

// redirected is where an answer leads to, without what may be secret in it.
func redirected(r *http.Response) string {
	to, err := r.Location()
	if err != nil {
		return "nowhere"
	}
	text := (&url.URL{Scheme: to.Scheme, Host: to.Host, Path: to.Path}).String()
	return strings.ToValidUTF8(text[:min(len(text), maxSaid)], "")
}
