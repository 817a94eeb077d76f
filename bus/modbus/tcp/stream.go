package tcp

import (
	"encoding/binary"
	"fmt"
)

// mostStray is how many bytes between two frames are skipped. Some gateways
// leave the checksum of the serial frame behind their replies.
const mostStray = 8

// frame takes the first whole frame out of what has come; nil means that it
// is not there yet. The frame is valid until the next call.
func (t *Transporter) frame() ([]byte, error) {
	if found, err := t.skip(); !found {
		return nil, err
	}
	size := 6 + t.length(0)
	if t.n < size {
		return nil, nil
	}
	copy(t.out[:], t.in[:size])
	t.n = copy(t.in[:], t.in[size:t.n])
	return t.out[:size], nil
}

// skip drops bytes that stand before the reply to a request, and reports
// whether a header has been found.
func (t *Transporter) skip() (found bool, err error) {
	if t.n < headerLen {
		return false, nil
	}
	if t.plausible(0) {
		return true, nil
	}
	for at := 1; at <= mostStray; at++ {
		if at+headerLen > t.n {
			return false, nil // it may still come
		}
		if t.begins(at) {
			t.stats.StrayBytes += uint64(at)
			t.n = copy(t.in[:], t.in[at:t.n])
			return true, nil
		}
	}
	return false, fmt.Errorf("the far end does not speak Modbus TCP: protocol %d, length %d", binary.BigEndian.Uint16(t.in[2:]), t.length(0))
}

func (t *Transporter) length(at int) int { return int(binary.BigEndian.Uint16(t.in[at+4:])) }

// plausible reports whether there is a header of MBAP.
func (t *Transporter) plausible(at int) bool {
	length := t.length(at)
	return t.in[at+2] == 0 && t.in[at+3] == 0 && length >= 3 && length <= maxFrame-6
}

// begins reports whether the reply to one of our requests begins there.
func (t *Transporter) begins(at int) bool {
	if at+headerLen > t.n || !t.plausible(at) {
		return false
	}
	k := t.sent.index(binary.BigEndian.Uint16(t.in[at:]))
	if k < 0 {
		return false
	}
	unit := t.in[at+headerLen-1]
	return unit == t.sent[k].unit || unit == 0 || unit == 255 || t.opts.AnyUnit
}
