package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/link"
	"fieldferry/bus/modbus"
	"fieldferry/bus/modbus/rtu"
	"fieldferry/gateway"
	"fieldferry/gateway/config"
	"fieldferry/gateway/control"
	"fieldferry/gateway/live"
)

// liveTime bounds what check asks of the surroundings, all in all.
const liveTime = 60 * time.Second

// liveProblems are what is not there of what the configuration needs:
// interfaces, ports, brokers. Nothing is sent to a bus and nothing published.
func (a *app) liveProblems(ctx context.Context, cfg *config.Config) []config.Problem {
	ctx, cancel := context.WithTimeout(ctx, liveTime)
	defer cancel()
	var list []config.Problem
	add := func(key, what, fix string) { list = append(list, cfg.Problem(key, what, fix, false)) }
	for i := range cfg.CAN {
		if what, fix := canTrouble(&cfg.CAN[i].Bus); what != "" {
			add(fmt.Sprintf("can[%d].interface", i), what, fix)
		}
	}
	has := a.daemonHas(ctx, cfg)
	var held []string
	for i := range cfg.Modbus {
		port := cfg.Modbus[i].Port
		if has(port) {
			held = append(held, printable(port))
		} else if what, fix := portTrouble(ctx, &cfg.Modbus[i]); what != "" {
			add(lineKey(i), what, fix)
		}
	}
	if held != nil {
		fmt.Fprintf(a.stderr, "the daemon runs and has %s: fieldferry status says how it fares\n", strings.Join(held, ", "))
	}
	results, err := gateway.ProbeBrokers(ctx, &cfg.Uplink)
	if err != nil {
		add("uplink", err.Error(), "correct it")
	}
	for i, err := range results {
		if err != nil {
			add(fmt.Sprintf("uplink.servers[%d]", i), err.Error(), "")
		}
	}
	return list
}

func lineKey(i int) string { return fmt.Sprintf("modbus[%d].port", i) }

func canTrouble(c *can.Config) (what, fix string) {
	source, err := can.ParseInterface(c.Interface)
	if err != nil || source.Kind != can.Device {
		return "", ""
	}
	info, err := link.Get(source.Name)
	switch {
	case errors.Is(err, link.ErrNoDevice):
		return "there is no CAN interface " + source.Name, "check the adapter and its driver; fieldferry can list shows those there are"
	case err != nil:
		return fmt.Sprintf("the interface %s cannot be asked: %v", source.Name, err), "check the adapter and its driver"
	case !info.Up && c.Bitrate == 0:
		return "the interface " + source.Name + " is down", "bring it up (systemd-networkd, ip link, fieldferry can up), or set bitrate"
	case c.FD && !info.FD():
		return "the interface " + source.Name + " is not set for CAN FD", "bring it up with dbitrate, or remove fd"
	}
	return "", ""
}

func portTrouble(ctx context.Context, c *modbus.LineConfig) (what, fix string) {
	err := modbus.Probe(ctx, *c)
	if err == nil {
		return "", ""
	}
	if fix = portAdvice(c.Port, err); fix != "" || errors.Is(err, rtu.ErrInUse) {
		return err.Error(), fix
	}
	return fmt.Sprintf("%s cannot be opened: %v", c.Port, err), "check address, cable and power"
}

// daemonHas says which ports a running daemon with this buffer has. One that does
// not say may have them all.
func (a *app) daemonHas(ctx context.Context, cfg *config.Config) func(port string) bool {
	path, err := a.controlSocket(cfg.Buffer.Dir)
	if err != nil || len(cfg.Modbus) == 0 {
		return func(string) bool { return false }
	}
	reply, err := control.Ask(ctx, path, control.Request{Verb: control.Status})
	return func(port string) bool {
		if reply.Status == nil {
			return err == nil || errors.Is(err, fs.ErrPermission)
		}
		return slices.ContainsFunc(reply.Status.Sources, func(s live.Source) bool { return s.Where == port })
	}
}
