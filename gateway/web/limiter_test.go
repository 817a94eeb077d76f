package web

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// Behind a proxy all come from one address: whoever mistypes there locks out his
// own account, and nobody else's.
func TestAWrongPasswordLocksOneAccountAtAnAddress(t *testing.T) {
	b := withUser(t)
	for range failMost {
		b.ask("POST", "/api/v1/login", `{"name":"bert","password":"wrong wrong"}`)
	}
	if r := b.ask("POST", "/api/v1/login", `{"name":"bert","password":"wrong wrong"}`); r.StatusCode != 429 {
		t.Errorf("bert after %d wrong passwords: %s", failMost, r.Status)
	}
	b.logIn() // anna, from the same address
}

// tries is how many of n guesses a second apart were tried before the time was over.
func tries(l *limiter, n int, guess func(i int) (addr, name string)) (tried int) {
	now := time.Now()
	for i := range n {
		now = now.Add(time.Second)
		addr, name := guess(i)
		if l.wait(addr, name, now) == 0 {
			l.failed(addr, name, now)
			tried++
		}
	}
	return tried
}

// However the guesses are spread over accounts and addresses, in an hour there are
// few, and one address cannot keep out the others.
func TestGuessesAreBounded(t *testing.T) {
	const hour = 3600
	for what, c := range map[string]struct {
		guess func(i int) (string, string)
		most  int
	}{
		"one account":            {func(int) (string, string) { return "a", "anna" }, 4 * failMost},
		"names that are none":    {func(i int) (string, string) { return "a", fmt.Sprint("no name ", i) }, 4 * failMost},
		"accounts of an address": {func(i int) (string, string) { return "a", fmt.Sprint(i % 100) }, 60 * failAddr},
		"accounts and addresses": {func(i int) (string, string) { return fmt.Sprint(i % 50), fmt.Sprint(i % 100) }, 60 * failAll},
	} {
		var l limiter
		if n := tries(&l, hour, c.guess); n < c.most/3 || n > c.most {
			t.Errorf("%s: %d tries in an hour, want at most %d", what, n, c.most)
		}
		if len(l.list) > maxAddrs {
			t.Errorf("%s: %d entries", what, len(l.list))
		}
	}
	var l limiter
	now := time.Now()
	for i := range 3 * failAll {
		if name := fmt.Sprint(i); l.wait("a", name, now) == 0 {
			l.failed("a", name, now)
		}
	}
	if l.wait("a", "anna", now) == 0 || l.wait("b", "anna", now) != 0 {
		t.Errorf("the guesser waits for %v, another address for %v", l.wait("a", "anna", now), l.wait("b", "anna", now))
	}
}

// Nobody makes room for guesses at others by a login of one's own.
func TestOwnLoginMakesNoRoomForGuesses(t *testing.T) {
	var l limiter
	now := time.Now()
	n := 0
	for i := range 10 * failAddr {
		if name := fmt.Sprint(i); l.wait("a", name, now) == 0 {
			l.failed("a", name, now)
			n++
		}
		l.passed("a", "own")
	}
	if n != failAddr {
		t.Errorf("%d guesses at once, want %d", n, failAddr)
	}
}

// Many at once are no more than one after the other.
func TestGuessesAtOnceAreCounted(t *testing.T) {
	b := newBench(t, Config{})
	slow, err := hashWith(secretWord, 20_000) // all of them are there before one is refused
	if err != nil {
		t.Fatal(err)
	}
	c := Account{Name: "anna", Role: Read, Password: slow}
	if err := b.accounts.change(func(l []Account) ([]Account, error) { return put(l, c), nil }); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 10 * failMost {
		all.Go(func() { b.ask("POST", "/api/v1/login", `{"name":"anna","password":"wrong wrong"}`) })
	}
	all.Wait()
	if n := b.audited("login_refused"); n != failMost {
		t.Errorf("%d passwords were tried, want %d", n, failMost)
	}
}
