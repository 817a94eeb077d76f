package config

import (
	"fmt"
	"log/slog"

	"fieldferry/bus/can"
	"fieldferry/uplink"
)

// leaves asks those that will use the configuration whether they would take
// it: what they refuse must not end a gateway that has started.
func (l *loader) leaves(cfg *Config) {
	ask := func(path string, err error) {
		if err != nil {
			l.problems = append(l.problems, cfg.problem(path, err.Error(), "correct it", false))
		}
	}
	for i := range cfg.CAN {
		_, err := can.New(cfg.CAN[i].Bus, slog.New(slog.DiscardHandler))
		ask(fmt.Sprintf("can[%d]", i), err)
	}
	for i := range cfg.Modbus {
		ask(fmt.Sprintf("modbus[%d]", i), cfg.Modbus[i].Validate())
	}
	u := &cfg.Uplink
	protocol := uplink.Protocol311
	if u.Protocol == "5" {
		protocol = uplink.Protocol5
	}
	ask("uplink", uplink.Config{
		Servers: u.Servers, ClientID: u.ClientID, Username: u.Username, Protocol: protocol,
		KeepAlive: u.KeepAlive, AckTimeout: u.AckTimeout, InFlight: u.InFlight,
	}.Validate())
}
