package config

import (
	"strings"

	"fieldferry/gateway/web"
)

// web is how the gateway can be looked into. Without the block it cannot.
func (l *loader) web(v value) web.Config {
	if !v.has {
		return web.Config{}
	}
	f := v.fields("listen", "tls", "insecure", "hosts", "max_clients", "metrics")
	tls := f.at("tls").fields("cert", "key")
	metrics := f.at("metrics").fields("open", "signals")
	c := web.Config{
		Listen:     f.at("listen").text(web.DefaultListen),
		CertFile:   tls.at("cert").readable("the certificate"),
		KeyFile:    tls.at("key").readable("the key"),
		Insecure:   f.at("insecure").boolean(false),
		MaxClients: int(f.at("max_clients").integer(0, 1<<30, web.DefaultClients)),
		Metrics:    web.Metrics{OpenOnLoopback: metrics.at("open").choice("no", "loopback") == "loopback"},
	}
	for _, h := range f.at("hosts").list() {
		c.Hosts = append(c.Hosts, h.level(""))
	}
	for _, s := range metrics.at("signals").list() {
		c.Metrics.Signals = append(c.Metrics.Signals, s.text(""))
	}
	for _, p := range c.Validate() {
		at := f.at(p.Key)
		if key, ok := strings.CutPrefix(p.Key, "metrics."); ok {
			at = metrics.at(key)
		}
		at.fail(p.What, p.Fix)
	}
	if c.Insecure {
		f.at("insecure").warn("passwords and sessions cross the network in the clear", "remove the key, and the page is served by TLS")
	}
	return c
}

// readable returns the name of a file that can be read, and reports one that
// cannot.
func (v value) readable(what string) string {
	path := v.file("")
	if path == "" {
		return ""
	}
	v.names(path, FileSecret)
	if wrong, fix := regularTrouble(what, path); wrong != "" {
		v.fail(wrong, fix)
	}
	return path
}
