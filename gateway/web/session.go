package web

import (
	"crypto/rand"
	"crypto/subtle"
	"sync"
	"time"
)

// How long a login lasts, by a clock nobody sets, and how many there can be.
const (
	sessionIdle = 12 * time.Hour
	sessionMost = 7 * 24 * time.Hour
	maxSessions = 25
)

// sessions are the logins of people. They are kept in memory only: a restart
// of the daemon asks for the password again.
type sessions struct {
	mu   sync.Mutex
	list map[string]*session // by the digest of the cookie
}

type session struct {
	_ [0]func() // nobody compares them: saves the code for it

	name       string
	proof      string    // the account's hash at the login: another password ends it
	began, use time.Time // with a monotonic reading
}

// start makes a session and returns its cookie. The one that was idle longest
// goes if there are too many.
func (s *sessions) start(c Account, now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.list == nil {
		s.list = map[string]*session{}
	}
	for len(s.list) >= maxSessions {
		oldest := ""
		for key, e := range s.list {
			if oldest == "" || e.use.Before(s.list[oldest].use) {
				oldest = key
			}
		}
		delete(s.list, oldest)
	}
	cookie := secret()
	s.list[digest(cookie)] = &session{name: c.Name, proof: c.Password, began: now, use: now}
	return cookie
}

// find returns whose login the cookie is.
func (s *sessions) find(cookie string, now time.Time, account func(string) (Account, bool)) (Account, bool) {
	key := digest(cookie)
	s.mu.Lock()
	e := s.list[key]
	if e != nil && (now.Sub(e.use) > sessionIdle || now.Sub(e.began) > sessionMost) {
		delete(s.list, key)
		e = nil
	}
	if e == nil {
		s.mu.Unlock()
		return Account{}, false
	}
	e.use = now
	name, proof := e.name, e.proof
	s.mu.Unlock()
	c, ok := account(name)
	if !ok || c.Password != proof {
		s.end(cookie)
		return Account{}, false
	}
	return c, true
}

// holds reports whether a login still holds. An open stream is a use of it.
func (s *sessions) holds(cookie string, now time.Time, account func(string) (Account, bool)) bool {
	_, ok := s.find(cookie, now, account)
	return ok
}

func (s *sessions) end(cookie string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.list, digest(cookie))
}

// limiter slows down whoever guesses passwords. Five failures of an account at an
// address within a minute lock it there for a quarter of an hour: behind a proxy all
// come from one address, and who mistypes must not keep out the others. Those that
// try many accounts wait for a minute after ten of an address, and after twenty of all.
type limiter struct {
	one sync.Mutex // a password is tried at a time: whoever tries many at once gains nothing

	mu   sync.Mutex
	list map[string]*failures // by address, and by address and account
	all  failures
}

const (
	failWindow = time.Minute
	failMost   = 5
	failAddr   = 10
	failAll    = 20
	lockTime   = 15 * time.Minute
	maxAddrs   = 1024
)

type failures struct {
	count  int
	since  time.Time
	locked time.Time // until then
}

func (f *failures) fail(now time.Time, most int, lock time.Duration) {
	if now.Sub(f.since) > failWindow {
		f.count, f.since = 0, now
	}
	if f.count++; f.count >= most {
		f.locked = now.Add(lock)
	}
}

// pair is an account at an address. What cannot be the name of one is none.
func pair(addr, name string) string {
	if !AccountName.MatchString(name) {
		name = ""
	}
	return addr + " " + name
}

// wait is how long an address has to wait before it may try an account again; 0:
// not at all.
func (l *limiter) wait(addr, name string, now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	until := l.all.locked
	for _, key := range [...]string{addr, pair(addr, name)} {
		if f := l.list[key]; f != nil && f.locked.After(until) {
			until = f.locked
		}
	}
	return max(until.Sub(now), 0)
}

// failed notes a wrong password of an account at an address.
func (l *limiter) failed(addr, name string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.list == nil {
		l.list = map[string]*failures{}
	}
	if len(l.list) >= maxAddrs-1 {
		for key, f := range l.list { // what is over; if all hold, the whole world is guessing
			if now.After(f.locked) && now.Sub(f.since) > failWindow {
				delete(l.list, key)
			}
		}
	}
	l.note(addr, failAddr, failWindow, now)
	l.note(pair(addr, name), failMost, lockTime, now)
	l.all.fail(now, failAll, failWindow)
}

func (l *limiter) note(key string, most int, lock time.Duration, now time.Time) {
	f := l.list[key]
	if f == nil && len(l.list) < maxAddrs {
		f = &failures{}
		l.list[key] = f
	}
	if f != nil {
		f.fail(now, most, lock)
	}
}

// passed forgets the failures of an account whose password was right. Those of the
// address stay: a login of one's own must not make room for guesses at others.
func (l *limiter) passed(addr, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.list, pair(addr, name))
}

// setup is the code by which the first account is made in a browser: whoever
// reads the journal of the machine is its administrator.
type setup struct {
	_ [0]func() // nobody compares them: saves the code for it

	mu    sync.Mutex
	code  string
	until time.Time
	tries int
}

const (
	setupTime  = 15 * time.Minute
	setupTries = 5
)

// start returns a new code.
func (s *setup) start(now time.Time) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.code, s.until, s.tries = rand.Text()[:12], now.Add(setupTime), 0
	return s.code
}

// use reports whether the code is right and still holds; it holds once.
func (s *setup) use(secret string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.code == "" || now.After(s.until) || s.tries >= setupTries {
		return false
	}
	s.tries++
	if subtle.ConstantTimeCompare([]byte(secret), []byte(s.code)) != 1 {
		return false
	}
	s.code = ""
	return true
}
