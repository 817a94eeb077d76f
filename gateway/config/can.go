package config

import (
	"fmt"

	"fieldferry/bus/can"
)

func (l *loader) can(v value, taken sources) []CAN {
	var out []CAN
	for _, item := range v.list() {
		out = append(out, l.canSource(item, taken))
	}
	return out
}

func (l *loader) canSource(v value, taken sources) CAN {
	f := v.fields("interface", "name", "filters", "join_filters", "fd", "timestamps", "bitrate", "dbitrate", "sample_point",
		"dsample_point", "listen_only", "triple_sampling", "loopback", "one_shot", "restart_ms", "txqueuelen", "limit", "messages", "dbc", "match", "raw")
	if !v.is(object) {
		return CAN{}
	}
	iface := f.need("interface", "write interface: can0")
	var c CAN
	c.Bus.Interface = iface.canInterface()
	name := f.at("name")
	if name.has {
		c.Name = name.level("")
	} else {
		name = iface
		i, _, _ := parseInterface(c.Bus.Interface)
		c.Name = i.sourceName()
		if what := levelTrouble(c.Name); what != "" && c.Bus.Interface != "" {
			iface.fail(fmt.Sprintf("cannot stand for the name: %s %s", shown(c.Name), what), "add name: NAME")
		}
	}
	if c.Bus.Interface != "" || f.at("name").has {
		taken.add(c.Name, name)
	}
	f.at("filters").canFilters(&c.Bus)
	c.Bus.Join = f.at("join_filters").boolean(c.Bus.Join)
	c.Bus.FD = f.at("fd").boolean(false)
	c.Bus.Timestamps = map[string]can.Timestamps{"kernel": can.TimesKernel, "hardware": can.TimesHardware,
		"receive": can.TimesReceive}[f.at("timestamps").choice("kernel", "hardware", "receive")]
	f.canLink(&c.Bus)
	c.DBC = f.canDBC()
	f.canLimits(&c)
	c.DecodedOnly = !f.at("raw").boolean(true)
	if c.DecodedOnly && c.DBC == nil {
		f.at("raw").fail("sends only frames that a DBC file describes, but there is none", "add dbc: [FILE], or remove it")
	}
	return c
}

// canInterface returns the checked interface, a log's path resolved.
func (v value) canInterface() string {
	text := v.text("")
	if text == "" {
		return ""
	}
	i, what, fix := parseInterface(text)
	if what != "" {
		v.fail(what, fix)
		return ""
	}
	if i.scheme != replayScheme {
		return text
	}
	i.name = v.l.resolve(i.name)
	if what, fix := regularTrouble("the log", i.name); what != "" {
		v.fail(what, fix)
		return ""
	}
	return i.String()
}

// maxFilters is CAN_RAW_FILTER_MAX.
const maxFilters = 512

func (v value) canFilters(bus *can.Config) {
	items := v.list()
	if len(items) > maxFilters {
		v.fail(fmt.Sprintf("%d filters are more than the %d the kernel takes", len(items), maxFilters), "use masks that cover several ids")
	}
	var set can.FilterSet
	for _, item := range items {
		text := item.text("")
		if text == "" {
			continue
		}
		if what := parseFilter(text, &set); what != "" {
			item.fail(shown(text)+" "+what, `write id:mask or id~mask in hexadecimal, such as "100:7F0" or "0CF00400:1FFFFFFF"`)
		}
	}
	set.AddTo(bus)
}
