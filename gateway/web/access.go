package web

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// Audit is one login, refusal or change, for the gateway's own stream.
type Audit struct {
	_ [0]func() // nobody compares them: saves the code for it

	Time   time.Time
	Action string // "login", "login_refused", "logout", "setup", "denied", ...
	Who    string // account; empty: nobody has proved to be anybody
	From   string // address without port
	Detail string
}

const (
	cookieName       = "fieldferry"
	cookieNameSecure = "__Host-fieldferry" // only over TLS: RFC 6265bis, 4.1.3.2
)

// securityHeaders stand in every reply. Scripts, styles and connections come
// from the gateway itself, and no other page may frame it.
var securityHeaders = map[string]string{
	"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
	"X-Content-Type-Options":       "nosniff",
	"Referrer-Policy":              "no-referrer",
	"Cross-Origin-Resource-Policy": "same-origin",
	"Cross-Origin-Opener-Policy":   "same-origin",
}

// guard is in front of every route: names by which the server may be called,
// requests that come from other pages, and the size of a body.
func (s *Server) guard(next http.Handler) http.Handler {
	inner := http.NewCrossOriginProtection() // everything but GET, HEAD and OPTIONS
	inner.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.refuse(w, r, http.StatusForbidden, "cross_origin", "The request comes from another page.")
	}))
	checked := inner.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range securityHeaders {
			w.Header().Set(name, value)
		}
		if s.cfg.encrypted() {
			w.Header().Set("Strict-Transport-Security", "max-age=31536000")
		}
		if !s.hostAllowed(r.Host) {
			s.refuse(w, r, http.StatusForbidden, "host", "The gateway is not called by this name. Use its address, or add the name to web.hosts.")
			return
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(replyTime))
		checked.ServeHTTP(w, r)
	})
}

type accountKey struct{}

// who returns the account that needs has let in; the zero Account where none
// was needed.
func who(r *http.Request) Account {
	c, _ := r.Context().Value(accountKey{}).(Account)
	return c
}

// needs lets accounts of a role pass.
func (s *Server) needs(role Role, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, ok := s.account(r)
		switch {
		case !ok && role == Read && s.opts.Open:
			c = Account{Name: "demo", Role: Read}
		case !ok:
			w.Header().Set("WWW-Authenticate", `Bearer realm="fieldferry"`)
			problem(w, http.StatusUnauthorized, "login", "Log in first.")
			return
		case !c.Role.may(role):
			s.opts.Audit(Audit{Time: time.Now(), Action: "denied", Who: c.Name, From: address(r), Detail: r.Method + " " + r.URL.Path})
			problem(w, http.StatusForbidden, "role", "This needs the role "+string(role)+"; "+c.Name+" has "+string(c.Role)+".")
			return
		}
		next(w, r.WithContext(context.WithValue(r.Context(), accountKey{}, c)))
	}
}

// account finds out whose request it is: by a token, or by the cookie of a login.
func (s *Server) account(r *http.Request) (Account, bool) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		return s.accounts.byToken(token, time.Now())
	}
	if c, err := r.Cookie(s.cookie()); err == nil {
		return s.sessions.find(c.Value, time.Now(), s.accounts.byName)
	}
	return Account{}, false
}

func (s *Server) cookie() string {
	if s.cfg.encrypted() {
		return cookieNameSecure
	}
	return cookieName
}

func (s *Server) setCookie(w http.ResponseWriter, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookie(), Value: value, Path: "/", MaxAge: int(age.Seconds()),
		HttpOnly: true, Secure: s.cfg.encrypted(), SameSite: http.SameSiteStrictMode,
	})
}

// address is where a request comes from, without the port: local, of a socket in
// the file system.
func address(r *http.Request) string {
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); ok && at != nil {
		return "local"
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// login is POST /api/v1/login {"name","password"}.
func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	var in struct{ Name, Password string }
	from := address(r)
	if !readJSON(w, r, &in) || s.locked(w, from, in.Name, "passwords") {
		return
	}
	s.limiter.one.Lock()
	defer s.limiter.one.Unlock()
	if s.locked(w, from, in.Name, "passwords") { // by those that were tried before it
		return
	}
	c, ok := s.accounts.check(in.Name, in.Password)
	now := time.Now()
	if !ok {
		s.limiter.failed(from, in.Name, now)
		s.opts.Audit(Audit{Time: now, Action: "login_refused", From: from})
		problem(w, http.StatusUnauthorized, "password", "Name or password is wrong.")
		return
	}
	s.limiter.passed(from, in.Name)
	s.enter(w, c, from, "login")
}

// locked answers if an address has to wait before it may try an account.
func (s *Server) locked(w http.ResponseWriter, from, name, what string) bool {
	wait := s.limiter.wait(from, name, time.Now())
	if wait > 0 {
		tooMany(w, wait, "locked", "Too many wrong "+what+".")
	}
	return wait > 0
}

// enter starts a session.
func (s *Server) enter(w http.ResponseWriter, c Account, from, action string) {
	s.setCookie(w, s.sessions.start(c, time.Now()), sessionMost)
	s.opts.Audit(Audit{Time: time.Now(), Action: action, Who: c.Name, From: from})
	writeJSON(w, map[string]any{"name": c.Name, "role": c.Role})
}

// logout is POST /api/v1/logout.
func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(s.cookie()); err == nil {
		if a, ok := s.account(r); ok {
			s.opts.Audit(Audit{Time: time.Now(), Action: "logout", Who: a.Name, From: address(r)})
		}
		s.sessions.end(c.Value)
	}
	s.setCookie(w, "", -time.Second)
	w.WriteHeader(http.StatusNoContent)
}

// first is POST /api/v1/setup {"code","name","password"}: the first account, an
// administrator's. There is no such way once an account exists.
func (s *Server) first(w http.ResponseWriter, r *http.Request) {
	from, now := address(r), time.Now()
	if s.accounts.any() {
		problem(w, http.StatusConflict, "done", "The gateway has accounts already.")
		return
	}
	if s.locked(w, from, "", "codes") {
		return
	}
	var in struct{ Code, Name, Password string }
	if !readJSON(w, r, &in) {
		return
	}
	if len(in.Password) < MinPassword || len(in.Password) > MaxPassword || !AccountName.MatchString(in.Name) {
		problem(w, http.StatusUnprocessableEntity, "account", "The name may have letters, digits and . _ @ -; the password has at least 8 characters.")
		return
	}
	if !s.setup.use(strings.TrimSpace(in.Code), now) {
		s.limiter.failed(from, "", now)
		problem(w, http.StatusForbidden, "code", "The code is wrong or has expired. A restart of the gateway writes a new one to its log.")
		return
	}
	if err := s.accounts.setPassword(in.Name, in.Password, Admin, now); err != nil {
		s.log.Error("the first account cannot be kept", "error", err)
		problem(w, http.StatusInternalServerError, "storage", "The account cannot be kept: "+err.Error())
		return
	}
	c, _ := s.accounts.byName(in.Name)
	s.enter(w, c, from, "setup")
}

// me is GET /api/v1/me: who is logged in, and what stands in the way.
func (s *Server) me(w http.ResponseWriter, r *http.Request) {
	c, ok := s.account(r)
	reply := map[string]any{"secure": s.cfg.encrypted(), "insecure": s.cfg.Insecure, "demo": s.opts.Open}
	switch {
	case ok:
		reply["name"], reply["role"] = c.Name, c.Role
	case s.opts.Open:
		reply["name"], reply["role"] = "demo", Read
	case !s.accounts.any():
		reply["setup"] = true
	}
	writeJSON(w, reply)
}

// refuse answers and audits what no ordinary browser does.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, status int, kind, text string) {
	s.opts.Audit(Audit{Time: time.Now(), Action: "denied", From: address(r), Detail: kind})
	problem(w, status, kind, text)
}

// problem answers as RFC 9457 has it. The type is relative to the page's own
// documentation of the API.
func problem(w http.ResponseWriter, status int, kind, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "/api/problems#" + kind, "title": http.StatusText(status), "status": status, "detail": detail,
	})
}

func tooMany(w http.ResponseWriter, wait time.Duration, kind, text string) {
	seconds := int(wait.Seconds()) + 1
	w.Header().Set("Retry-After", itoa(seconds))
	problem(w, http.StatusTooManyRequests, kind, text+" Try again in "+itoa(seconds)+" seconds.")
}

func writeJSON(w http.ResponseWriter, v any) { writeStatus(w, http.StatusOK, v) }

func writeStatus(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// readJSON reads a body strictly, and answers if it cannot.
func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(v)
	if err == nil {
		if _, end := dec.Token(); end != io.EOF {
			err = errors.New("something follows the JSON")
		}
	}
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		problem(w, http.StatusRequestEntityTooLarge, "size", "The body is larger than "+itoa(maxBody)+" bytes.")
	case err != nil:
		problem(w, http.StatusBadRequest, "json", "The body is not the JSON that is expected: "+err.Error())
	}
	return err == nil
}
