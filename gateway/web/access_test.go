package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

const secretWord = "correct horse battery"

// withUser is a bench with a person who may read.
func withUser(t *testing.T) *bench {
	b := newBench(t, Config{})
	c := Account{Name: "anna", Role: Read, Password: cheap(t, secretWord)}
	if err := b.accounts.change(func(l []Account) ([]Account, error) { return append(l, c), nil }); err != nil {
		t.Fatal(err)
	}
	return b
}

// cheap is a hash that does not take a second.
func cheap(t *testing.T, password string) string {
	t.Helper()
	h, err := hashWith(password, 2)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func (b *bench) logIn() string {
	b.t.Helper()
	r := b.ask("POST", "/api/v1/login", `{"name":"anna","password":"`+secretWord+`"}`)
	if r.StatusCode != http.StatusOK {
		b.t.Fatalf("login: %s", r.Status)
	}
	c := r.Cookies()[0]
	if !c.HttpOnly || c.SameSite != http.SameSiteStrictMode {
		b.t.Errorf("cookie %v", c)
	}
	return c.Name + "=" + c.Value
}

// Every route says who may use it, and nobody else can.
func TestEveryRouteNeedsItsRole(t *testing.T) {
	b := withUser(t)
	tokens := map[Role]string{Read: b.token(Read), Operate: b.token(Operate), Admin: b.token(Admin)}
	for _, route := range b.table() {
		if route.role == "" {
			continue
		}
		method, path, _ := strings.Cut(route.pattern, " ")
		path = strings.NewReplacer("{source}", "engine", "{id}", "123", "{line}", "line1").Replace(path)
		if r := b.ask(method, path, ""); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s by nobody: %s", route.pattern, r.Status)
		}
		if r := b.ask(method, path, "", "Authorization", "Bearer ff_wrong"); r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s by a wrong token: %s", route.pattern, r.Status)
		}
		for role, token := range tokens {
			if path == "/api/v1/events" && role.may(route.role) {
				continue // needs a real connection
			}
			r := b.ask(method, path, "", "Authorization", token)
			if denied := r.StatusCode == http.StatusForbidden || r.StatusCode == http.StatusUnauthorized; denied == role.may(route.role) {
				t.Errorf("%s by %s: %s", route.pattern, role, r.Status)
			}
		}
	}
}

func TestForeignNamesAndPages(t *testing.T) {
	b := withUser(t)
	cookie := b.logIn()
	for _, c := range []struct {
		what, method, path string
		header             []string
		want               int
	}{
		{"an evil name", "GET", "/api/v1/status", []string{"Host", "evil.example"}, 403},
		{"an evil name on the page itself", "GET", "/", []string{"Host", "evil.example:8090"}, 403},
		{"localhost", "GET", "/api/v1/status", []string{"Host", "localhost:8090"}, 200},
		{"IPv6 loopback", "GET", "/api/v1/status", []string{"Host", "[::1]:8090"}, 200},
		{"another page's form", "POST", "/api/v1/logout", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"another page, old browser", "POST", "/api/v1/logout", []string{"Origin", "https://evil.example"}, 403},
		{"its own page", "POST", "/api/v1/logout", []string{"Sec-Fetch-Site", "same-origin"}, 204},
	} {
		r := b.ask(c.method, c.path, "", append([]string{"Cookie", cookie}, c.header...)...)
		if r.StatusCode != c.want {
			t.Errorf("%s: %s, want %d", c.what, r.Status, c.want)
		}
		if r.Header.Get("Content-Security-Policy") == "" || r.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: no security headers", c.what)
		}
	}
	if r := b.ask("GET", "/api/v1/status", "", "Cookie", cookie); r.StatusCode != 401 {
		t.Errorf("after the logout: %s", r.Status)
	}
}

func TestGuessingIsSlow(t *testing.T) {
	b := withUser(t)
	wrong := `{"name":"anna","password":"wrong wrong"}`
	for n := range failMost {
		if r := b.ask("POST", "/api/v1/login", wrong); r.StatusCode != 401 {
			t.Fatalf("try %d: %s", n, r.Status)
		}
	}
	r := b.ask("POST", "/api/v1/login", `{"name":"anna","password":"`+secretWord+`"}`)
	if r.StatusCode != 429 || r.Header.Get("Retry-After") == "" {
		t.Errorf("the right password after %d wrong ones: %s", failMost, r.Status)
	}
	if n := b.audited("login_refused"); n != failMost {
		t.Errorf("%d refusals are audited, want %d", n, failMost)
	}
}

// An unknown name and a wrong password look the same.
func TestUnknownNameLooksLikeWrongPassword(t *testing.T) {
	b := withUser(t)
	a := decode(t, b.ask("POST", "/api/v1/login", `{"name":"anna","password":"wrong wrong"}`).Body)
	c := decode(t, b.ask("POST", "/api/v1/login", `{"name":"bert","password":"wrong wrong"}`).Body)
	if a["detail"] != c["detail"] || a["status"] != c["status"] {
		t.Errorf("%v and %v", a, c)
	}
}

func TestAnotherPasswordEndsSessions(t *testing.T) {
	b := withUser(t)
	cookie := b.logIn()
	if r := b.ask("GET", "/api/v1/status", "", "Cookie", cookie); r.StatusCode != 200 {
		t.Fatalf("before: %s", r.Status)
	}
	other := Account{Name: "anna", Role: Read, Password: cheap(t, "something else")}
	if err := b.accounts.change(func(l []Account) ([]Account, error) { return put(l, other), nil }); err != nil {
		t.Fatal(err)
	}
	if r := b.ask("GET", "/api/v1/status", "", "Cookie", cookie); r.StatusCode != 401 {
		t.Errorf("after: %s", r.Status)
	}
}

func TestSessionsEnd(t *testing.T) {
	now := time.Now()
	account := func(string) (Account, bool) { return Account{Name: "a", Password: "p"}, true }
	for _, c := range []struct {
		step time.Duration
		uses int
		want bool
	}{{sessionIdle - time.Second, 1, true}, {sessionIdle + time.Second, 1, false},
		{11 * time.Hour, 15, true}, {11 * time.Hour, 16, false}} { // seven days are over
		var s sessions
		cookie := s.start(Account{Name: "a", Password: "p"}, now)
		ok, at := true, now
		for range c.uses {
			at = at.Add(c.step)
			_, ok = s.find(cookie, at, account)
		}
		if ok != c.want {
			t.Errorf("%d uses each %v: %v", c.uses, c.step, ok)
		}
	}
	var s sessions
	first := s.start(Account{Name: "a", Password: "p"}, now)
	for range maxSessions {
		now = now.Add(time.Second)
		s.start(Account{Name: "a", Password: "p"}, now)
	}
	if _, ok := s.find(first, now, account); ok || len(s.list) != maxSessions {
		t.Errorf("%d sessions, the oldest holds: %v", len(s.list), ok)
	}
}

func TestSetup(t *testing.T) {
	b := newBench(t, Config{})
	if r := b.ask("GET", "/api/v1/status", ""); r.StatusCode != 401 {
		t.Errorf("before the set-up: %s", r.Status)
	}
	code := b.setup.start(time.Now())
	body := func(code string) string {
		return `{"code":"` + code + `","name":"anna","password":"` + secretWord + `"}`
	}
	if r := b.ask("POST", "/api/v1/setup", body("WRONG")); r.StatusCode != 403 {
		t.Errorf("a wrong code: %s", r.Status)
	}
	if r := b.ask("POST", "/api/v1/setup", `{"code":"`+code+`","name":"anna","password":"short"}`); r.StatusCode != 422 {
		t.Errorf("a short password: %s", r.Status)
	}
	if r := b.ask("POST", "/api/v1/setup", body(code)); r.StatusCode != 200 {
		t.Errorf("the right code: %s", r.Status)
	}
	if r := b.ask("POST", "/api/v1/setup", body(code)); r.StatusCode != 409 {
		t.Errorf("once more: %s", r.Status)
	}
	for range setupTries {
		b.setup.use("WRONG", time.Now())
	}
}

func TestSetupCodeExpires(t *testing.T) {
	var s setup
	now := time.Now()
	code := s.start(now)
	if s.use(code, now.Add(setupTime+time.Second)) {
		t.Error("after its time")
	}
	code = s.start(now)
	for range setupTries {
		s.use("WRONG", now)
	}
	if s.use(code, now) {
		t.Error("after five wrong tries")
	}
}

func TestOpenIsForReadingOnly(t *testing.T) {
	b := newBench(t, Config{}, func(o *Options) { o.Open = true })
	for _, route := range b.table() {
		method, path, _ := strings.Cut(route.pattern, " ")
		if route.role == "" || path == "/api/v1/events" {
			continue
		}
		r := b.ask(method, strings.NewReplacer("{source}", "engine", "{id}", "123").Replace(path), "")
		if open := r.StatusCode != 401; open != (route.role == Read) {
			t.Errorf("%s: %s", route.pattern, r.Status)
		}
	}
}

func TestBodies(t *testing.T) {
	b := withUser(t)
	for _, c := range []struct {
		body string
		want int
	}{
		{`{"name":"anna","password":"x","more":1}`, 400}, {`{"name":"anna"`, 400}, {`{} {}`, 400},
		{`{"name":"` + strings.Repeat("a", maxBody) + `"}`, 413},
	} {
		if r := b.ask("POST", "/api/v1/login", c.body); r.StatusCode != c.want {
			t.Errorf("%.40s: %s, want %d", c.body, r.Status, c.want)
		}
	}
}

func TestTokensExpire(t *testing.T) {
	m := &memory{}
	token, err := NewToken(m, "ci", Read, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := &accounts{files: m}
	if _, ok := a.byToken(token, time.Now()); !ok {
		t.Error("a new token is refused")
	}
	if _, ok := a.byToken(token, time.Now().Add(2*time.Hour)); ok {
		t.Error("an old token is accepted")
	}
	if strings.Contains(string(m.files[accountsFile]), token) {
		t.Error("the token stands in the file")
	}
}

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, ""}, {Config{Listen: "127.0.0.1:8090"}, ""}, {Config{Listen: "0.0.0.0:443"}, ""},
		{Config{Listen: "8090"}, "address"}, {Config{Listen: "0.0.0.0:1", CertFile: "x"}, "belong together"},
		{Config{Listen: "0.0.0.0:1", Insecure: true, TLS: true}, "contradicts"},
		{Config{Listen: "127.0.0.1:1", Insecure: true}, "loopback"},
		{Config{Listen: "127.0.0.1:1", MaxClients: MaxClients}, ""}, {Config{Listen: "127.0.0.1:1", MaxClients: MaxClients + 1}, "max_clients"},
	} {
		list := c.cfg.Validate()
		if text := fmt.Sprint(list); (len(list) == 0) != (c.want == "") || !strings.Contains(text, c.want) {
			t.Errorf("%+v: %s, want %q", c.cfg, text, c.want)
		}
	}
	for cfg, want := range map[*Config]bool{{Listen: "127.0.0.1:1"}: false, {Listen: "127.0.0.1:1", TLS: true}: true,
		{Listen: "0.0.0.0:1"}: true, {Listen: "0.0.0.0:1", Insecure: true}: false} {
		if cfg.encrypted() != want {
			t.Errorf("%+v: encrypted is %v", cfg, !want)
		}
	}
}
