package web

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Role says what an account may do. Each may also what those before it may.
type Role string

// The roles, which are also the scopes of tokens.
const (
	Read    Role = "read"    // look at everything but secrets
	Operate Role = "operate" // scan, read registers, run commands
	Admin   Role = "admin"   // change the configuration, make accounts, fetch a support bundle
)

var ranks = map[Role]int{Read: 1, Operate: 2, Admin: 3}

// may reports whether r includes what needs.
func (r Role) may(needs Role) bool { return ranks[r] >= ranks[needs] && ranks[r] > 0 }

// ParseRole returns the role of that name.
func ParseRole(s string) (Role, error) {
	if ranks[Role(s)] == 0 {
		return "", fmt.Errorf("%q is not a role; write read, operate or admin", s)
	}
	return Role(s), nil
}

// Account is who may log in. Either Password or Token is set.
type Account struct {
	_ [0]func() // nobody compares them: saves the code for it

	Name     string    `json:"name"`
	Role     Role      `json:"role"`
	Password string    `json:"password,omitempty"` // its hash, with the parameters
	Token    string    `json:"token,omitempty"`    // SHA-256 of the token, in hex
	Made     time.Time `json:"made"`
	Expires  time.Time `json:"expires,omitzero"` // zero: never
}

const (
	accountsFile = "accounts.json"
	maxAccounts  = 100
	tokenPrefix  = "ff_"

	// MinPassword is how many bytes a password has at least, MaxPassword at most.
	MinPassword = 8
	MaxPassword = 1024

	// pbkdf2Rounds is what OWASP asks of PBKDF2-HMAC-SHA256. argon2id would
	// take a fifth of the daemon's memory for each login.
	pbkdf2Rounds = 600_000
)

// AccountName is what the name of an account looks like.
var AccountName = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)

// accounts are read again whenever the file has changed: the verbs below
// fieldferry web write it too.
type accounts struct {
	files Files
	mu    sync.Mutex // of change
	hash  sync.Mutex // one password is hashed at a time: each takes a second of a small core

	cache   sync.Mutex
	cached  []Account
	failed  error
	fetched time.Time
}

// freshTime is how long what the file says may be behind: many requests a second
// must not read it each.
const freshTime = time.Second

// list returns the accounts; the caller must not change them.
func (a *accounts) list() ([]Account, error) {
	a.cache.Lock()
	defer a.cache.Unlock()
	if a.fetched.IsZero() || time.Since(a.fetched) > freshTime {
		a.cached, a.failed = a.load()
		a.fetched = time.Now()
	}
	return a.cached, a.failed
}

func (a *accounts) load() ([]Account, error) {
	b, err := a.files.Read(accountsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []Account
	if err := json.Unmarshal(b, &list); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; remove it and make the accounts again", accountsFile, err)
	}
	return list, nil
}

// any reports whether somebody can log in. If the file cannot be read, somebody
// could: the set-up page must not open then.
func (a *accounts) any() bool {
	list, err := a.list()
	return err != nil || len(list) > 0
}

// change rewrites the accounts.
func (a *accounts) change(edit func([]Account) ([]Account, error)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	list, err := a.load()
	if err != nil {
		return err
	}
	if list, err = edit(list); err != nil {
		return err
	}
	if len(list) > maxAccounts {
		return fmt.Errorf("%d accounts; at most %d are possible", len(list), maxAccounts)
	}
	b, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	a.cache.Lock()
	defer a.cache.Unlock()
	a.fetched = time.Time{}
	return a.files.Write(accountsFile, append(b, '\n'))
}

// SetPassword makes an account for a person, or changes its password and role.
func SetPassword(files Files, name, password string, role Role, now time.Time) error {
	return (&accounts{files: files}).setPassword(name, password, role, now)
}

func (a *accounts) setPassword(name, password string, role Role, now time.Time) error {
	if !AccountName.MatchString(name) {
		return fmt.Errorf("%q cannot be the name of an account; use up to 64 letters, digits and . _ @ -", name)
	}
	if len(password) < MinPassword || len(password) > MaxPassword {
		return fmt.Errorf("the password has %d bytes; use %d to %d", len(password), MinPassword, MaxPassword)
	}
	hash, err := hashPassword(password)
	if err != nil {
		return err
	}
	return a.change(func(list []Account) ([]Account, error) {
		return put(list, Account{Name: name, Role: role, Password: hash, Made: now.UTC()}), nil
	})
}

// NewToken makes an account for a program and returns its token, which is kept
// nowhere. A ttl of 0 lasts until the account is removed.
func NewToken(files Files, name string, role Role, ttl time.Duration, now time.Time) (string, error) {
	if !AccountName.MatchString(name) {
		return "", fmt.Errorf("%q cannot be the name of an account; use up to 64 letters, digits and . _ @ -", name)
	}
	token := tokenPrefix + secret()
	account := Account{Name: name, Role: role, Token: digest(token), Made: now.UTC()}
	if ttl > 0 {
		account.Expires = now.Add(ttl).UTC()
	}
	a := &accounts{files: files}
	return token, a.change(func(list []Account) ([]Account, error) { return put(list, account), nil })
}

// Remove removes an account; its sessions end with it.
func Remove(files Files, name string) error {
	a := &accounts{files: files}
	return a.change(func(list []Account) ([]Account, error) {
		for i := range list {
			if list[i].Name == name {
				return append(list[:i], list[i+1:]...), nil
			}
		}
		return nil, fmt.Errorf("there is no account %q", name)
	})
}

// Accounts lists the accounts, without what they prove themselves by.
func Accounts(files Files) ([]Account, error) {
	list, err := (&accounts{files: files}).load()
	for i := range list {
		if list[i].Password != "" {
			list[i].Password = "set"
		}
		if list[i].Token != "" {
			list[i].Token = "set"
		}
	}
	return list, err
}

func put(list []Account, a Account) []Account {
	for i := range list {
		if list[i].Name == a.Name {
			list[i] = a
			return list
		}
	}
	return append(list, a)
}

// byName finds a person's account as it is now.
func (a *accounts) byName(name string) (Account, bool) {
	list, _ := a.list()
	for _, c := range list {
		if c.Name == name {
			return c, true
		}
	}
	return Account{}, false
}

// byToken finds a program's account.
func (a *accounts) byToken(token string, now time.Time) (Account, bool) {
	if !strings.HasPrefix(token, tokenPrefix) || len(token) > 128 {
		return Account{}, false
	}
	list, _ := a.list()
	want := digest(token)
	for _, c := range list {
		if c.Token != "" && subtle.ConstantTimeCompare([]byte(c.Token), []byte(want)) == 1 {
			return c, c.Expires.IsZero() || now.Before(c.Expires)
		}
	}
	return Account{}, false
}

// check proves a password. An unknown name costs as much as a wrong password.
func (a *accounts) check(name, password string) (Account, bool) {
	c, ok := a.byName(name)
	hash := c.Password
	if !ok || hash == "" {
		hash = nobody
	}
	if len(password) > MaxPassword {
		password = ""
	}
	a.hash.Lock()
	defer a.hash.Unlock()
	return c, verify(hash, password) && ok && c.Password != ""
}

const hashName = "pbkdf2-sha256"

// nobody is a hash no password has.
var nobody = hashName + "$" + strconv.Itoa(pbkdf2Rounds) + "$AAAAAAAAAAAAAAAAAAAAAA$" + strings.Repeat("A", 43)

func hashPassword(password string) (string, error) { return hashWith(password, pbkdf2Rounds) }

func hashWith(password string, rounds int) (string, error) {
	salt := make([]byte, 16)
	_, _ = rand.Read(salt) // never fails, see crypto/rand
	key, err := pbkdf2.Key(sha256.New, password, salt, rounds, sha256.Size)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s$%d$%s$%s", hashName, rounds, base64.RawStdEncoding.EncodeToString(salt), base64.RawStdEncoding.EncodeToString(key)), nil
}

func verify(hash, password string) bool {
	part := strings.Split(hash, "$")
	if len(part) != 4 || part[0] != hashName {
		return false
	}
	rounds, err := strconv.Atoi(part[1])
	if err != nil || rounds < 1 || rounds > 10*pbkdf2Rounds {
		return false
	}
	salt, err := base64.RawStdEncoding.DecodeString(part[2])
	if err != nil {
		return false
	}
	want, err := base64.RawStdEncoding.DecodeString(part[3])
	if err != nil {
		return false
	}
	key, err := pbkdf2.Key(sha256.New, password, salt, rounds, len(want))
	return err == nil && subtle.ConstantTimeCompare(key, want) == 1
}

// secret is 256 random bits as text.
func secret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}

func digest(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
