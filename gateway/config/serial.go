package config

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"fieldferry/bus/modbus"
)

// usualRates are the rates devices are documented with.
var usualRates = []int64{
	110, 150, 300, 600, 1200, 1800, 2400, 4800, 7200, 9600, 14400, 19200, 28800, 31250, 38400, 56000, 57600, 62500, 76800,
	115200, 125000, 128000, 153600, 187500, 230400, 250000, 256000, 375000, 460800, 500000, 576000, 750000, 921600,
	1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000,
}

// baudRate refuses what can only be a mistyped usual rate: a UART's tolerance
// is some 2 %, so that nobody needs a rate within 1 % of a usual one.
func (v value) baudRate() int {
	n := v.integer(modbus.MinBaudRate, modbus.MaxBaudRate, modbus.DefaultBaudRate)
	if slices.Contains(usualRates, n) {
		return int(n)
	}
	for _, usual := range usualRates {
		if off := max(n-usual, usual-n); off*100 < usual {
			v.fail(fmt.Sprintf("%d is not a baud rate devices use", n), fmt.Sprintf("did you mean %d?", usual))
			return int(usual)
		}
	}
	v.warn(fmt.Sprintf("%d is an unusual baud rate", n), "make sure that the device and the port can do it")
	return int(n)
}

func (v value) dataBits() int {
	v.boundedInteger(8, 8)
	switch n := v.whole(5, 8, 8); n {
	case 8:
	case 7:
		v.fail("7 data bits cannot carry Modbus RTU, whose bytes have 8 bits", "set the device to RTU with 8 data bits; 7 bits are for Modbus ASCII")
	default:
		v.fail(fmt.Sprintf("%d data bits cannot carry Modbus RTU, whose bytes have 8 bits", n), "write 8 or remove the key")
	}
	return 8
}

// serialPort returns the path of the port, resolved. It may be missing: an
// adapter can be plugged in later.
func (v value) serialPort() string {
	text := v.text("")
	switch {
	case text == "":
		return ""
	case labelTrouble(text) != "":
		v.fail(shown(text)+" "+labelTrouble(text), "name a serial port such as /dev/ttyS1")
		return ""
	case strings.Contains(text, "://"):
		if _, err := modbus.ParseEndpoint(text); err != nil {
			v.fail(shown(text)+" is not a port", "write a serial device such as /dev/ttyS1, tcp://HOST:502 or rtu+tcp://HOST:PORT")
			return ""
		}
		return text
	}
	if fix := misspelt(text); fix != "" {
		if _, err := os.Stat(v.l.resolve(text)); err != nil {
			v.fail(shown(text)+" is not a serial port, nor is there such a file", "write "+fix)
			return ""
		}
	}
	path := v.l.resolve(text)
	if info, err := os.Stat(path); err == nil && info.Mode()&fs.ModeCharDevice == 0 {
		v.fail(path+" is not a serial port", "name a character device such as /dev/ttyS1")
		return ""
	}
	v.stableName(path)
	return path
}

// misspelt returns what a port is meant to be that lacks its beginning: an
// address without a scheme, or the name of a device without its directory.
func misspelt(text string) string {
	if strings.Contains(text, "/") {
		return ""
	}
	if strings.HasPrefix(text, "tty") {
		return "/dev/" + text
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = text, "502"
	}
	_, numeric := netip.ParseAddr(strings.Trim(host, "[]"))
	if err == nil || numeric == nil {
		guess := "tcp://" + net.JoinHostPort(strings.Trim(host, "[]"), port)
		if _, err := modbus.ParseEndpoint(guess); err == nil {
			return guess
		}
	}
	return ""
}

// The keys of a line that mean something with one kind of port only.
var (
	serialKeys  = []string{"baud_rate", "data_bits", "parity", "stop_bits", "rs485"}
	networkKeys = []string{"connect_delay"}
	tcpKeys     = []string{"any_reply_unit", "any_transaction_id"}
)

// warnMeaningless warns of keys of a line that its kind of port has no use for.
func (f fields) warnMeaningless(port string) {
	e, err := modbus.ParseEndpoint(port)
	if port == "" || err != nil {
		return
	}
	warn := func(keys []string, what, fix string) {
		for _, key := range keys {
			if v := f.at(key); v.has {
				v.warn(what, fix)
			}
		}
	}
	if e.Framing.Network() {
		warn(serialKeys, "means nothing with a network port: whatever is at the far end has the serial line", "remove it")
	} else {
		warn(networkKeys, "means nothing with a serial port", "remove it")
	}
	if e.Framing != modbus.TCP {
		warn(tcpKeys, "means something with tcp:// only", "remove it")
	}
}

// stableName warns of a name that another adapter may have after a restart,
// if udev has one that stays.
func (v value) stableName(path string) {
	kernel := filepath.Base(path)
	if filepath.Dir(path) != "/dev" || !strings.HasPrefix(kernel, "ttyUSB") && !strings.HasPrefix(kernel, "ttyACM") {
		return
	}
	for _, by := range []string{"by-id", "by-path"} {
		dir := filepath.Join(v.l.opts.SerialDir, by)
		names, _ := os.ReadDir(dir)
		for _, e := range names {
			link := filepath.Join(dir, e.Name())
			// udev takes the link away with the device.
			if target, err := os.Readlink(link); err == nil && filepath.Base(target) == kernel {
				v.warn(kernel+" can be another adapter after a restart or when it is plugged in again", "write port: "+link)
				return
			}
		}
	}
}

// ports are the ports of the lines so far, by what they lead to.
type ports map[string]value

// add reports a port another line has, by whatever path.
func (p ports) add(port string, v value) {
	if port == "" {
		return
	}
	real, also := samePort(port)
	first, ok := p[real]
	if !ok {
		p[real] = v
		return
	}
	v.fail(fmt.Sprintf("the port is that of %s %s%s", strings.TrimSuffix(first.path, ".port"), first.where(), also),
		"put the devices of one port under one line")
}

// samePort returns what a port leads to, and says so when it is not obvious.
func samePort(port string) (real, also string) {
	if e, err := modbus.ParseEndpoint(port); err == nil && e.Framing != modbus.Serial {
		return e.Address, ""
	}
	clean := filepath.Clean(port)
	if target, err := filepath.EvalSymlinks(port); err == nil && target != clean {
		return target, fmt.Sprintf(": %s leads to %s", port, target)
	}
	return clean, ""
}
