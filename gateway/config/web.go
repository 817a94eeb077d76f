package config

import (
	"slices"
	"strings"

	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/web"
)

// web is how the gateway can be looked into. Without the block it cannot.
func (l *loader) web(v value, cfg *Config) web.Config {
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
		c.Metrics.Signals = append(c.Metrics.Signals, s.followed(cfg))
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

// followed reads the name of a value that is shown and kept. It warns of one that
// there cannot be, whose course would stay empty.
func (v value) followed(cfg *Config) string {
	text := v.text("")
	part := strings.Split(text, "/")
	bus := slices.IndexFunc(cfg.CAN, func(c CAN) bool { return c.Name == part[0] })
	line := slices.IndexFunc(cfg.Modbus, func(c modbus.LineConfig) bool { return c.Name == part[0] })
	switch {
	case text == "":
	case bus < 0 && line < 0:
		names := listOf(cfg.CAN, func(c CAN) string { return c.Name })
		v.warn(unknown("source", part[0], append(names, listOf(cfg.Modbus, func(c modbus.LineConfig) string { return c.Name })...)))
	case bus >= 0 && len(part) == 2:
		v.followedSignal(cfg.CAN[bus].DBC, part[1])
	case line >= 0 && len(part) == 3:
		v.followedRegister(cfg.Modbus[line].Devices, part[1], part[2])
	default:
		v.warn(shown(text)+" names no value", "write SOURCE/NAME for a signal of CAN, SOURCE/DEVICE/NAME for a register of Modbus")
	}
	return text
}

func (v value) followedSignal(db *dbc.Database, name string) {
	var there []string
	if db != nil {
		for _, m := range db.Messages() {
			for i := range m.Signals {
				there = append(there, m.Signals[i].Name)
			}
		}
	}
	if !slices.Contains(there, name) {
		v.warn(unknown("signal", name, there))
	}
}

func (v value) followedRegister(devices []modbus.Device, device, name string) {
	d := slices.IndexFunc(devices, func(d modbus.Device) bool { return d.Name == device })
	if d < 0 {
		v.warn(unknown("device", device, listOf(devices, func(d modbus.Device) string { return d.Name })))
		return
	}
	there := listOf(devices[d].Registers, func(r modbus.Register) string { return r.Name })
	if !slices.Contains(there, name) {
		v.warn(unknown("register of "+device, name, there))
	}
}
