package config

import (
	"fmt"
	"math"
	"strings"

	"fieldferry/bus/can"
	"fieldferry/bus/can/link"
)

// The bit rates of CAN (ISO 11898-1) and, of the data phase, of the fastest
// transceivers (CiA 601-4), in bit/s.
const (
	minBitrate     = 1_000
	maxBitrate     = 1_000_000
	maxDataBitrate = 20_000_000
	maxRestart     = 3_600_000 // ms
	maxQueue       = 100_000   // frames
)

// linkKeys need a link to bring up.
var linkKeys = []string{"sample_point", "dsample_point", "triple_sampling", "loopback", "one_shot", "restart_ms", "txqueuelen"}

// canLink reads what a link is brought up with.
func (f fields) canLink(bus *can.Config) {
	bitrate, dbitrate := f.at("bitrate"), f.at("dbitrate")
	bus.Bitrate = uint32(bitrate.integer(minBitrate, maxBitrate, 0))
	bus.DataBitrate = uint32(dbitrate.integer(minBitrate, maxDataBitrate, 0))
	device := !strings.Contains(bus.Interface, ":")
	s := &link.Settings{Bitrate: bus.Bitrate, DataBitrate: bus.DataBitrate}
	s.SamplePoint = f.at("sample_point").samplePoint()
	s.DataSamplePoint = f.at("dsample_point").samplePoint()
	listenOnly := f.at("listen_only")
	for mode, on := range map[link.Mode]bool{
		link.ListenOnly:     listenOnly.boolean(true),
		link.TripleSampling: f.at("triple_sampling").boolean(false),
		link.Loopback:       f.at("loopback").boolean(false),
		link.OneShot:        f.at("one_shot").boolean(false),
		link.FD:             bus.FD,
	} {
		if on {
			s.Mode |= mode
		}
	}
	if v := f.at("restart_ms"); v.has {
		ms := uint32(v.integer(0, maxRestart, 0))
		s.RestartMs = &ms
	}
	s.TxQueueLen = uint32(f.at("txqueuelen").integer(1, maxQueue, 0))
	switch {
	case !device:
		f.refuse(linkKeys, "is of a link, and this is none", "remove the key")
		return
	case !bitrate.has:
		const fix = "add bitrate, or remove the key and set the link up by systemd-networkd or ip link"
		f.refuse(append([]string{"dbitrate"}, linkKeys...), "needs bitrate: without it the link is not touched", fix)
		if s.Mode&link.ListenOnly == 0 {
			listenOnly.fail("needs bitrate: without it the link is not touched", fix)
		}
		return
	case bus.FD && !dbitrate.has:
		bitrate.fail("the data bit rate is missing: fd is true", "add dbitrate, such as dbitrate: 2000000")
	case !bus.FD && dbitrate.has:
		dbitrate.fail("is of CAN FD, which is not asked for", "add fd: true")
	case dbitrate.has && bus.DataBitrate != 0 && bus.DataBitrate < bus.Bitrate:
		dbitrate.fail("is less than bitrate", "the data phase is the faster one")
	case f.at("dsample_point").has && !dbitrate.has:
		f.at("dsample_point").fail("is of CAN FD", "add fd: true and dbitrate")
	}
	bus.Link = s
}

// refuse reports those of the keys that are there.
func (f fields) refuse(keys []string, what, fix string) {
	for _, key := range keys {
		if v := f.at(key); v.has {
			v.fail(what, fix)
		}
	}
}

// samplePoint returns a part of a bit in per mille, 0 when there is none.
func (v value) samplePoint() uint32 {
	const low, high = 0.5, 0.99
	v.boundedShare(low, high)
	if !v.has {
		return 0
	}
	n := v.number(math.NaN())
	switch {
	case math.IsNaN(n): // reported
		return 0
	case n >= 50 && n < 100:
		v.fail(fmt.Sprintf("%v is more than the whole bit", n), fmt.Sprintf("write %v", n/100))
	case n < low || n > high:
		v.fail(fmt.Sprintf("%v is out of range", n), "write a part of the bit from 0.5 to 0.99, such as 0.875")
	default:
		return uint32(math.Round(n * 1000))
	}
	return 0
}
