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
	f := v.fields("listen", "group", "tls", "insecure", "hosts", "max_clients", "metrics")
	tls := f.at("tls").fields("cert", "key")
	metrics := f.at("metrics").fields("open", "signals")
	c := web.Config{
		Listen:     f.at("listen").text(web.DefaultListen),
		Group:      f.at("group").text(""),
		CertFile:   tls.at("cert").file(""),
		KeyFile:    tls.at("key").file(""),
		Insecure:   f.at("insecure").boolean(false),
		MaxClients: int(f.at("max_clients").integer(web.MinClients, web.MaxClients, web.DefaultClients)),
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
	l.webPair(tls, c.CertFile, c.KeyFile)
	if c.Insecure {
		f.at("insecure").warn("passwords and sessions cross the network in the clear", "remove the key, and the page is served by TLS")
	}
	return c
}

// webPair looks at the certificate of the page as at that of the uplink.
func (l *loader) webPair(f fields, cert, key string) {
	f.at("cert").names(cert, FileSecret)
	f.at("key").names(key, FileSecret)
	if cert == "" || key == "" {
		return
	}
	_, certs, keyInfo, bad := readPair(cert, key)
	if bad != nil {
		f.at(bad.key).pemProblem(bad)
		return
	}
	f.at("cert").warnExpired(certs)
	f.at("key").warnPublic(keyInfo)
}
