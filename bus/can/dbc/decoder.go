package dbc

import (
	"bytes"
	"errors"
	"io"

	"fieldferry/bus/can"
)

// Decoder turns candump logs into JSON Lines, one for each frame:
//
//	{"ts":1436509052.249713,"bus":"vcan0","id":"123","name":"Engine","signals":{"Speed":812.5}}
//	{"ts":1436509052.249714,"bus":"vcan0","id":"18FEF100","data":"FF00"}
//
// Frames the database does not describe, remote frames ("rtr":true, the length
// asked for as "dlc") and error frames ("err":true) have their data and no
// name. A message without signals has both. One of J1939 has "pgn" and "sa"
// behind its name. CAN FD frames have "fd":true, and "brs" and "esi" where set. The time
// is the log's own number. If the database has J1939 messages, those that
// were sent in packets are joined: a line with their id and "packets":true
// follows that of their last packet.
type Decoder struct {
	// Malformed, if set, is told of lines that hold no frame. They are
	// counted and passed over.
	Malformed func(*can.LineError)
	// Part, if set, is told of each message of whose frames one is only a part,
	// see [Database.IsPart]: they have their data and no name.
	Part func(*Message)

	parts  map[*Message]bool // that Part was told of
	db     *Database
	line   logLine
	values []Value
	out    []byte
	buses  []busTransport
	lineNo int64 // in this log
	stats  DecoderStats
}

type busTransport struct {
	name  string
	clock can.LogClock
	*Transport
}

// DecoderStats count what a Decoder has read.
type DecoderStats struct {
	Lines     int64 // of the log, empty ones too
	Frames    int64
	Decoded   int64 // frames described by the database
	Packets   int64 // J1939 messages joined and described
	Untimed   int64 // J1939 messages joined by the order of their packets alone: the log's times say nothing
	Malformed int64 // lines that hold no frame
}

const (
	readSize  = 256 << 10
	flushSize = 256 << 10
	maxBuses  = 16 // with a transport of their own: 2 MB
)

// NewDecoder returns a decoder of the messages of db.
func NewDecoder(db *Database) *Decoder { return &Decoder{db: db} }

// Stats returns what was counted since the beginning.
func (d *Decoder) Stats() DecoderStats { return d.stats }

// Decode reads a log to its end and writes its frames to w. What has been
// read is written before it waits for more, so that a log can be decoded while
// it is being recorded. The error is that of r or w.
func (d *Decoder) Decode(r io.Reader, w io.Writer) error {
	buf := make([]byte, readSize)
	d.lineNo = 0
	for i := range d.buses {
		d.buses[i].clock.Restart()
	}
	have, long := 0, false // bytes of an unfinished line; it is too long and already reported
	for {
		n, err := r.Read(buf[have:])
		data := buf[:have+n]
		for {
			i := bytes.IndexByte(data[have:], '\n')
			if i < 0 {
				break
			}
			if !long {
				d.frame(data[:have+i])
			}
			long = false
			data, have = data[have+i+1:], 0
			if len(d.out) >= flushSize {
				if err := d.flush(w); err != nil {
					return err
				}
			}
		}
		if len(data) > can.MaxLogLine {
			if !long {
				d.frame(data)
			}
			data, long = data[:0], true
		}
		have = copy(buf, data)
		if err != nil && have > 0 && !long {
			d.frame(buf[:have])
		}
		if err := d.flush(w); err != nil {
			return err
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}

func (d *Decoder) flush(w io.Writer) error {
	if len(d.out) == 0 {
		return nil
	}
	_, err := w.Write(d.out)
	d.out = d.out[:0]
	return err
}

// frame decodes one line.
func (d *Decoder) frame(line []byte) {
	d.stats.Lines++
	d.lineNo++
	// candump -e explains error frames on lines of their own, behind a tab.
	if len(line) == 0 || line[0] == '\r' || line[0] == '\t' {
		return
	}
	l := &d.line
	if err := l.parse(line); err != nil {
		d.malformed(line, err)
		return
	}
	d.stats.Frames++
	var m *Message
	if l.flags&(can.Remote|can.ErrorFrame) == 0 {
		if m = d.db.Lookup(l.id, l.extended); m != nil && d.db.IsPart(m, l.flags) {
			d.part(m)
			m = nil
		}
	}
	d.begin(l, l.id)
	if m != nil {
		d.stats.Decoded++
		d.described(m, l.id, l.data[:l.length])
	} else {
		d.undescribed(l)
	}
	if l.flags&can.FD != 0 {
		d.flags(l)
	}
	d.out = append(d.out, '}', '\n')
	switch {
	case l.flags&can.ErrorFrame != 0:
		d.lost(l)
	case l.extended && d.db.J1939():
		d.transport(l)
	}
}

func (d *Decoder) malformed(line []byte, err error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	d.stats.Malformed++
	if d.Malformed != nil {
		d.Malformed(&can.LineError{Line: d.lineNo, Err: err})
	}
}

// begin appends time, bus and id.
func (d *Decoder) begin(l *logLine, id uint32) {
	out := append(d.out, '{')
	if l.stamp != nil {
		out = append(out, `"ts":`...)
		if l.quoted {
			out = append(out, '"')
		}
		out = append(out, l.stamp...)
		if l.quoted {
			out = append(out, '"')
		}
		out = append(out, ',')
	}
	out = append(out, `"bus":`...)
	out = appendBus(out, l.bus)
	out = append(out, `,"id":"`...)
	shift := 8
	if l.extended {
		shift = 28
	}
	for ; shift >= 0; shift -= 4 {
		out = append(out, upperHex[id>>shift&15])
	}
	d.out = append(out, '"')
}

// appendBus appends an interface's name, which is nearly always plain.
func appendBus(dst, name []byte) []byte {
	for _, c := range name {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return appendString(dst, name)
		}
	}
	dst = append(append(dst, '"'), name...)
	return append(dst, '"')
}

// part notes that a frame is only a part of a message.
func (d *Decoder) part(m *Message) {
	if d.Part == nil || d.parts[m] {
		return
	}
	if d.parts == nil {
		d.parts = make(map[*Message]bool)
	}
	d.parts[m] = true
	d.Part(m)
}

func (d *Decoder) described(m *Message, id uint32, data []byte) {
	if len(m.Signals) == 0 {
		d.data(data)
	}
	d.out = d.db.AppendName(append(d.out, ','), m, id)
	d.out = append(d.out, ',')
	d.values = m.Decode(data, d.values[:0])
	d.out = AppendSignals(d.out, d.values)
}

func (d *Decoder) undescribed(l *logLine) {
	if l.flags&can.Remote != 0 {
		out := append(d.out, `,"data":"","rtr":true`...)
		if l.length > 0 {
			out = append(out, `,"dlc":`...)
			out = append(out, '0'+byte(l.length))
		}
		d.out = out
		return
	}
	d.data(l.data[:l.length])
	if l.flags&can.ErrorFrame != 0 {
		d.out = append(d.out, `,"err":true`...)
	}
}

func (d *Decoder) data(data []byte) {
	out := append(d.out, `,"data":"`...)
	for _, c := range data {
		out = append(out, upperHex[c>>4], upperHex[c&15])
	}
	d.out = append(out, '"')
}

func (d *Decoder) flags(l *logLine) {
	d.out = append(d.out, `,"fd":true`...)
	if l.flags&can.BitRateSwitch != 0 {
		d.out = append(d.out, `,"brs":true`...)
	}
	if l.flags&can.ErrorState != 0 {
		d.out = append(d.out, `,"esi":true`...)
	}
}

// transport gives the frame to the transport protocol, and appends a line for
// a message that it completed and the database describes.
func (d *Decoder) transport(l *logLine) {
	if TransportName(l.id) == "" {
		return
	}
	t := d.transportOf(l.bus)
	if t == nil {
		return
	}
	at := l.time()
	f := can.Frame{Time: at, Clock: t.clock.Next(at), ID: l.id, Flags: l.flags, Len: uint8(l.length), Data: l.data}
	packet, ok := t.Feed(&f)
	if !ok {
		return
	}
	if !t.clock.Useful() {
		d.stats.Untimed++
	}
	m := d.db.LookupPacket(packet.ID())
	if m == nil {
		return
	}
	d.stats.Packets++
	d.begin(l, packet.ID())
	d.out = append(d.out, `,"packets":true`...)
	d.described(m, packet.ID(), packet.Data)
	d.out = append(d.out, '}', '\n')
}

// lost ends the transfers of a bus whose controller says that it had to drop
// frames.
func (d *Decoder) lost(l *logLine) {
	if l.id&errorController == 0 || l.length < 2 || l.data[1]&overflowOfController == 0 {
		return
	}
	for i := range d.buses {
		if d.buses[i].name == string(l.bus) {
			d.buses[i].Lost()
		}
	}
}

func (d *Decoder) transportOf(bus []byte) *busTransport {
	for i := range d.buses {
		if d.buses[i].name == string(bus) {
			return &d.buses[i]
		}
	}
	if len(d.buses) == maxBuses {
		return nil
	}
	d.buses = append(d.buses, busTransport{name: string(bus), Transport: new(Transport)})
	return &d.buses[len(d.buses)-1]
}
