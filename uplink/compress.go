package uplink

import (
	"bytes"
	"cmp"
	"compress/gzip"

	"github.com/klauspost/compress/zstd"

	"fieldferry/uplink/mqtt"
)

// Compression is what is done to payloads.
type Compression uint8

// The compressions. A compressed payload is marked: under MQTT 3.1.1 by one
// more level of the topic, "gzip" or "zstd"; under MQTT 5 by the content type,
// "application/json+gzip" or "application/json+zstd".
const (
	CompressNone Compression = iota
	CompressGzip             // RFC 1952
	CompressZstd             // RFC 8878, windows of at most 128 KiB
)

// String is the word of the topic and of the content type, empty for none.
func (c Compression) String() string {
	switch c {
	case CompressGzip:
		return "gzip"
	case CompressZstd:
		return "zstd"
	}
	return ""
}

// contentType is what the queue's messages are.
const contentType = "application/json"

// slack is how much larger compression can make a message: its own headers,
// and the mark.
const slack = 64

// encoder compresses. It belongs to the goroutine of Run.
type encoder struct {
	gzip *gzip.Writer
	zstd *zstd.Encoder
}

// encode makes the packet of a message of the queue.
func (u *Uplink) encode(m Message) mqtt.Packet {
	p := m.packet()
	if u.cfg.Protocol == Protocol5 {
		p.ContentType = contentType
		if m.Properties != nil {
			p.ContentType = cmp.Or(m.Properties.ContentType, contentType)
		}
	}
	if u.cfg.Compress == CompressNone {
		return p
	}
	body, err := u.zip.pack(u.cfg.Compress, m.Payload)
	if err != nil { // memory does not fail; if it does, the message is none the worse
		u.log.Error("uplink cannot compress; sending as it is", "error", err)
		return p
	}
	p.Payload = body
	if u.cfg.Protocol == Protocol5 {
		p.ContentType += "+" + u.cfg.Compress.String()
	} else {
		p.Topic += "/" + u.cfg.Compress.String()
	}
	return p
}

// pack compresses into memory of its own, as the window keeps it.
func (e *encoder) pack(c Compression, data []byte) ([]byte, error) {
	if c == CompressGzip {
		out := bytes.NewBuffer(make([]byte, 0, len(data)/4+slack))
		if e.gzip == nil {
			e.gzip = gzip.NewWriter(out)
		} else {
			e.gzip.Reset(out)
		}
		if _, err := e.gzip.Write(data); err != nil {
			return nil, err
		}
		err := e.gzip.Close()
		return out.Bytes(), err
	}
	if e.zstd == nil {
		z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithWindowSize(128<<10))
		if err != nil {
			return nil, err
		}
		e.zstd = z
	}
	return e.zstd.EncodeAll(data, make([]byte, 0, len(data)/4+slack)), nil
}
