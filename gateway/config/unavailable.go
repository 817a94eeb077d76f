package config

import "regexp"

// unavailable is a key that fieldferry's configuration has, or that people
// expect, and this version cannot act on. Accepting it would promise what does
// not happen.
type unavailable struct {
	path    string // key path, [] for any item
	feature string // what is not there
	accept  string // the one value that asks for nothing beyond what happens anyway
	advice  string // what to do instead; empty: remove the key
}

// unavailableKeys loses a row when a feature arrives.
var unavailableKeys = []unavailable{
	{path: "can[].bitrate", feature: "bringing a CAN link up", advice: linkAdvice},
	{path: "can[].dbitrate", feature: "bringing a CAN link up", advice: linkAdvice},
	{path: "can[].sample_point", feature: "bringing a CAN link up", advice: linkAdvice},
	{path: "can[].listen_only", feature: "writing to a CAN bus", accept: "true", advice: "remove the key or set it to true: fieldferry never writes to a CAN bus"},
	{path: "can[].triple_sampling", feature: "bringing a CAN link up", advice: linkAdvice},
	{path: "can[].loopback", feature: "bringing a CAN link up", advice: linkAdvice},
	{path: "can[].restart_ms", feature: "bringing a CAN link up", advice: linkAdvice},
	{path: "can[].dbc", feature: "decoding by a DBC file"},
	{path: "can[].raw", feature: "sending decoded frames only", accept: "true", advice: "remove the key or set it to true"},
	{path: "can[].limit", feature: "limiting the rate of CAN frames", advice: "remove the key; filters keep frames out"},
	{path: "can[].messages", feature: "setting up single CAN messages"},
	{path: "modbus[].devices[].timeout", feature: "a timeout of its own for a device", advice: "set timeout on the line"},
	{path: "modbus[].devices[].template", feature: "a device template", advice: "write the registers out"},
	{path: "modbus[].devices[].registers[].invalid", feature: "a value that means not available"},
	{path: "modbus[].devices[].registers[].scale_register", feature: "a scale factor read from a register"},
	{path: "modbus[].devices[].registers[].enum", feature: "labelling values"},
	{path: "modbus[].devices[].registers[].flags", feature: "labelling bits"},
	{path: "modbus[].devices[].registers[].bit", feature: "reading a single bit of a register"},
	{path: "modbus[].devices[].registers[].bits", feature: "reading some bits of a register"},
	{path: "modbus[].devices[].registers[].length", feature: "a value of variable length"},
	{path: "modbus[].devices[].registers[].deadband", feature: "a deadband", advice: "remove the key; on_change sends only changes"},
	{path: "modbus[].devices[].registers[].min_interval", feature: "a least interval between changes"},
	{path: "modbus[].devices[].registers[].max_interval", feature: "a greatest interval between changes"},
	{path: "uplink.format", feature: "another format than json", accept: "json", advice: "remove the key or set it to json"},
	{path: "uplink.compress", feature: "compression", accept: "none", advice: "remove the key or set it to none"},
	{path: "uplink.protocol", feature: "MQTT 5", accept: "3.1.1", advice: "remove the key: MQTT 3.1.1 is spoken"},
	{path: "uplink.backlog", feature: "a lane of its own for the backlog"},
	{path: "uplink.max_rate", feature: "limiting the rate of the uplink"},
	{path: "web", feature: "the status page"},
}

const linkAdvice = "remove the key and set the link up by systemd-networkd or ip link"

var itemIndex = regexp.MustCompile(`\[\d+\]`)

func findUnavailable(path string) (unavailable, bool) {
	key := lastKey(path)
	for _, u := range unavailableKeys {
		if lastKey(u.path) == key && itemIndex.ReplaceAllString(path, "[]") == u.path {
			return u, true
		}
	}
	return unavailable{}, false
}

func (u unavailable) what() string { return u.feature + " is not in this version" }

func (u unavailable) fix() string {
	if u.advice != "" {
		return u.advice
	}
	return "remove the key"
}
