package config

import (
	"fmt"
	"io/fs"
	"strings"
	"time"
	"unicode"

	"fieldferry/uplink"
)

// The uplink's defaults.
const (
	defaultTopic      = "fieldferry/{gateway}/{source}"
	defaultMaxRecords = 100
	defaultMaxDelay   = 200 * time.Millisecond
	defaultMaxBytes   = 64 << 10
	defaultShare      = 0.5
)

// maxString is the longest string MQTT can carry, in bytes.
const maxString = 65535

func (l *loader) uplink(v value, gateway Gateway) Uplink {
	f := v.fields("servers", "client_id", "username", "password", "password_file", "tls",
		"keep_alive", "ack_timeout", "topic", "batch", "in_flight",
		"preset", "protocol", "verify_publish", "compress", "max_rate", "max_messages", "backlog", "headers", "proxy")
	p := presets[f.at("preset").choice("none", presetAWS)]
	u := Uplink{
		ClientID: f.at("client_id").mqttString(gateway.ID),
		Username: f.at("username").mqttString(""),
		Topic:    f.at("topic").topic(),
		InFlight: int(f.at("in_flight").integer(1, uplink.MaxInFlight, uplink.DefaultInFlight)),
		Format:   "json",
		Compress: f.at("compress").choice("none", "gzip", "zstd"),
		Protocol: f.at("protocol").choice("3.1.1", "5"),

		VerifyPublish: f.at("verify_publish").verification(!p.tells),
		MaxRate:       f.at("max_rate").rate(64, 1<<30),
		MaxMessages:   int(f.at("max_messages").integer(1, 1_000_000, 0)),
	}
	// MQTT 3.1.1, 3.1.2.10: seconds in 16 bits.
	u.KeepAlive = f.at("keep_alive").duration(span{
		low: time.Second, high: uplink.MaxKeepAlive, step: time.Second, example: "30s",
	}, uplink.DefaultKeepAlive)
	u.AckTimeout = f.at("ack_timeout").duration(span{low: time.Second, high: 48 * time.Hour, example: "60s"}, 2*u.KeepAlive)
	l.batch(f.at("batch"), &u.Batch)
	u.Backlog = l.backlog(f.at("backlog"), u.MaxRate)
	l.preset(f, p, &u)
	l.password(f, &u)
	if t := f.at("tls"); t.has {
		u.TLS = l.tls(t)
	}
	l.servers(f, &u)
	u.Headers = l.headers(f.at("headers"), u.Servers)
	u.Proxy = l.proxy(f.at("proxy"))
	return u
}

// verification returns what verify_publish says, and if nothing does, what is usual.
func (v value) verification(usual bool) Verification {
	def := VerifyNothing
	if usual {
		def = VerifyStatus
	}
	if !v.is(scalar) {
		return def
	}
	text := v.n.text
	if text != string(VerifyTopics) { // which may be quoted, as any word
		var ok bool
		if text, ok = v.plain("true, false or topics", "true"); !ok {
			return def
		}
	}
	switch word := Verification(text); word {
	case VerifyNothing, VerifyStatus, VerifyTopics:
		return word
	}
	v.fail(shown(text)+" is not known", "write true, false or topics")
	return def
}

func (l *loader) batch(v value, b *Batch) {
	f := v.fields("max_records", "max_delay", "max_bytes")
	b.MaxRecords = int(f.at("max_records").integer(1, 10_000, defaultMaxRecords))
	b.MaxDelay = f.at("max_delay").duration(span{low: time.Millisecond, high: time.Minute, zero: true, example: "200ms"}, defaultMaxDelay)
	b.MaxBytes = f.at("max_bytes").size(1<<10, 16<<20, defaultMaxBytes)
}

func (l *loader) backlog(v value, uplink int64) Backlog {
	f := v.fields("share", "max_rate", "order")
	b := Backlog{
		Share:   f.at("share").share(0.01, 0.99, defaultShare),
		MaxRate: f.at("max_rate").rate(64, 1<<30),
		Order:   f.at("order").choice("oldest_first", "newest_first"),
	}
	if uplink > 0 && b.MaxRate > uplink {
		f.at("max_rate").warn("is more than the max_rate of the uplink, which bounds both lanes", "lower it or remove it")
	}
	return b
}

func (l *loader) servers(f fields, u *Uplink) {
	named := f.need("servers", `write servers: ["mqtt://HOST"]`)
	if named.has && named.n.kind == list && len(named.n.items) == 0 {
		named.fail("no server is named", `write servers: ["mqtt://HOST"]`)
	}
	seen := map[string]bool{}
	encrypted, wrong := false, false
	for _, item := range named.list() {
		url := item.text("")
		if url == "" {
			continue
		}
		s, ok := item.server(url)
		if !ok {
			wrong = true
			continue
		}
		if seen[url] {
			item.warn("the server is named twice", "remove one of them")
		}
		seen[url] = true
		tls := s.Scheme == "mqtts" || s.Scheme == "wss"
		encrypted = encrypted || tls
		if !tls && !isLocal(s.Host) && f.secret().has {
			item.warn("the password is sent to this server in clear", "use mqtts or wss")
		}
		u.Servers = append(u.Servers, url)
	}
	if u.TLS != nil && !encrypted && !wrong && len(u.Servers) > 0 {
		f.at("tls").warn("no server is mqtts or wss, so that nothing is encrypted", "use mqtts or wss, or remove tls")
	}
}

// secret is the key a password is given by.
func (f fields) secret() value {
	if v := f.at("password_file"); v.has {
		return v
	}
	return f.at("password")
}

func (l *loader) password(f fields, u *Uplink) {
	text, file := f.at("password"), f.at("password_file")
	if secret := f.secret(); secret.has && !f.at("username").has {
		// MQTT 3.1.1, 3.1.2.9
		secret.fail("a password needs a user name", "add username:")
	}
	if text.has && file.has {
		text.fail("there is a password_file too", "remove one of them")
	}
	// Whatever it looks like, it is text: nothing of it may be in a message.
	if text.is(scalar) {
		switch {
		case text.n.text == "":
			text.fail("is empty", "give it a value or remove the key")
		case len(text.n.text) > maxString:
			text.fail(fmt.Sprintf("is longer than %d bytes", maxString), "correct it")
		case text.public():
			text.warn("everybody on this machine can read the password in this file", "use password_file, ${VAR}, or mode 0640")
		}
		u.Password = NewSecret(text.n.text)
	}
	u.PasswordFile = file.file("")
	file.names(u.PasswordFile, FileSecret)
	if u.PasswordFile == "" {
		return
	}
	_, info, err := readSecret(u.PasswordFile)
	if err != nil {
		file.fail(secretTrouble(u.PasswordFile, err))
		return
	}
	file.warnPublic(info)
}

// warnPublic warns of a secret file everybody can read.
func (v value) warnPublic(info fs.FileInfo) {
	if info.Mode().Perm()&0o004 != 0 {
		v.warn("everybody on this machine can read the file", "chmod 0640, owned by root and the group of the daemon")
	}
}

// mqttString returns a text that MQTT can carry as client id or user name.
func (v value) mqttString(def string) string {
	text := v.text("")
	switch {
	case text == "":
		return def
	case len(text) > maxString:
		v.fail(fmt.Sprintf("is longer than the %d bytes MQTT can carry", maxString), "shorten it")
		return def
	case strings.ContainsFunc(text, unicode.IsControl):
		v.fail(shown(text)+" contains control characters", "remove them")
		return def
	}
	return text
}
