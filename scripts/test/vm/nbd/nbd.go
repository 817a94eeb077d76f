// Package nbd serves a disk with a volatile write cache, so that a power cut
// can lose what a guest has written and not flushed.
//
// # Nouns
//
// A [Disk] is a raw image behind a socket that speaks the network block device
// protocol (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md:
// fixed newstyle negotiation, simple replies). What is written stays in memory
// until the guest flushes, or writes with FUA. A cut drops it, or keeps some
// of it: sectors of 512 bytes, each for itself, as a card may.
//
// # Caveats
//
// The disk is honest: what was flushed is there. One connection at a time.
package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

const (
	sector     = 512
	maxRequest = 32 << 20
	maxOption  = 64 << 10
)

// Disk is a raw image that is served. Its methods may be called from any
// goroutine.
type Disk struct {
	listener net.Listener
	done     sync.WaitGroup

	mu      sync.Mutex // everything below
	image   *os.File
	size    int64
	conn    net.Conn
	pending []write // not flushed, in order
	cut     bool
	atFlush func() // instead of the next flush
	stats   Stats
}

// Stats counts what a disk was asked for.
type Stats struct {
	Writes, Flushes int
	Lost            int // writes that were not flushed at the cut
	Kept            int // sectors of those that survived
}

type write struct {
	at   int64
	data []byte
}

// Serve serves the image at a socket until [Disk.Cut] or [Disk.Close].
func Serve(image, socket string) (*Disk, error) {
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.Size()%sector != 0 {
		err = fmt.Errorf("%s has %d bytes, which are not whole sectors", image, info.Size())
	}
	var l net.Listener
	if err == nil {
		l, err = net.Listen("unix", socket)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	d := &Disk{listener: l, image: f, size: info.Size()}
	d.done.Go(d.accept)
	return d, nil
}

func (d *Disk) accept() {
	for {
		c, err := d.listener.Accept()
		if err != nil {
			return
		}
		d.mu.Lock()
		d.conn = c
		d.mu.Unlock()
		_ = d.serve(c) // the guest has gone, or the power
		c.Close()
	}
}

// Cut is the end of the power: of what was not flushed each sector survives
// with probability keep, from 0 to 1. Nothing is served any more.
func (d *Disk) Cut(keep float64, rng *rand.Rand) Stats {
	d.mu.Lock()
	s := d.drop(keep, rng)
	d.mu.Unlock()
	d.end()
	return s
}

// CutAtFlush is a [Disk.Cut] at the worst moment: when the guest next wants
// something flushed, before any of it is.
func (d *Disk) CutAtFlush(keep float64, rng *rand.Rand) Stats {
	var s Stats
	reached := make(chan struct{})
	d.mu.Lock()
	d.atFlush = func() {
		s = d.drop(keep, rng)
		close(reached)
	}
	d.mu.Unlock()
	<-reached
	d.end()
	return s
}

// drop is the cut itself. mu is held.
func (d *Disk) drop(keep float64, rng *rand.Rand) Stats {
	d.cut = true
	d.stats.Lost = len(d.pending)
	for _, w := range d.pending {
		for at := 0; at < len(w.data); at += sector {
			if rng.Float64() < keep {
				_, _ = d.image.WriteAt(w.data[at:at+sector], w.at+int64(at))
				d.stats.Kept++
			}
		}
	}
	d.pending = nil
	return d.stats
}

// Close ends the service in order: everything is kept.
func (d *Disk) Close() error {
	d.mu.Lock()
	err := d.flush()
	d.cut = true
	d.mu.Unlock()
	d.end()
	return err
}

func (d *Disk) end() {
	d.listener.Close()
	d.mu.Lock()
	if d.conn != nil {
		d.conn.Close()
	}
	d.mu.Unlock()
	d.done.Wait()
	d.image.Close()
}

func (d *Disk) flush() error {
	for _, w := range d.pending {
		if _, err := d.image.WriteAt(w.data, w.at); err != nil {
			return err
		}
	}
	d.pending = d.pending[:0]
	return nil
}

// read returns what a guest sees: the image and what is pending.
func (d *Disk) read(p []byte, at int64) error {
	if _, err := d.image.ReadAt(p, at); err != nil {
		return err
	}
	for _, w := range d.pending {
		from, to := max(at, w.at), min(at+int64(len(p)), w.at+int64(len(w.data)))
		if from < to {
			copy(p[from-at:to-at], w.data[from-w.at:to-w.at])
		}
	}
	return nil
}

// Numbers of the protocol.
const (
	greeting     = "NBDMAGICIHAVEOPT\x00\x03" // fixed newstyle, no zeroes
	optMagic     = 0x49484156454F5054
	optReply     = 0x3e889045565a9
	optExport    = 1
	optAbort     = 2
	optInfo      = 6
	optGo        = 7
	repAck       = 1
	repInfo      = 3
	repUnsup     = 1<<31 | 1
	flags        = 1 | 4 | 8 // has flags, flush, FUA
	requestMagic = 0x25609513
	replyMagic   = 0x67446698
	cmdRead      = 0
	cmdWrite     = 1
	cmdDisc      = 2
	cmdFlush     = 3
	flagFUA      = 1
	errIO        = 5
	errInvalid   = 22
)

var errCut = errors.New("the power is cut")

func (d *Disk) negotiate(c net.Conn) error {
	if _, err := io.WriteString(c, greeting); err != nil {
		return err
	}
	var client uint32
	if err := binary.Read(c, binary.BigEndian, &client); err != nil {
		return err
	}
	for {
		var h struct {
			Magic       uint64
			Option, Len uint32
		}
		if err := binary.Read(c, binary.BigEndian, &h); err != nil {
			return err
		}
		if h.Magic != optMagic || h.Len > maxOption {
			return errors.New("not the protocol of a network block device")
		}
		if _, err := io.CopyN(io.Discard, c, int64(h.Len)); err != nil {
			return err
		}
		reply := func(kind uint32, data []byte) error {
			b := binary.BigEndian.AppendUint64(nil, optReply)
			b = binary.BigEndian.AppendUint32(b, h.Option)
			b = binary.BigEndian.AppendUint32(b, kind)
			b = binary.BigEndian.AppendUint32(b, uint32(len(data)))
			_, err := c.Write(append(b, data...))
			return err
		}
		export := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint64(nil, uint64(d.size)), flags)
		var err error
		switch h.Option {
		case optExport:
			if client&2 == 0 {
				export = append(export, make([]byte, 124)...)
			}
			_, err = c.Write(export)
			return err
		case optInfo, optGo:
			err = errors.Join(reply(repInfo, append([]byte{0, 0}, export...)), reply(repAck, nil))
			if h.Option == optGo {
				return err
			}
		case optAbort:
			return errors.Join(reply(repAck, nil), io.EOF)
		default:
			err = reply(repUnsup, nil)
		}
		if err != nil {
			return err
		}
	}
}

func (d *Disk) serve(c net.Conn) error {
	if err := d.negotiate(c); err != nil {
		return err
	}
	for {
		var q struct {
			Magic       uint32
			Flags, Type uint16
			Handle, At  uint64
			Len         uint32
		}
		if err := binary.Read(c, binary.BigEndian, &q); err != nil {
			return err
		}
		if q.Magic != requestMagic || q.Len > maxRequest {
			return errors.New("not a request")
		}
		var data []byte
		if q.Type == cmdRead || q.Type == cmdWrite {
			data = make([]byte, q.Len)
		}
		if q.Type == cmdWrite {
			if _, err := io.ReadFull(c, data); err != nil {
				return err
			}
		}
		code, err := d.do(q.Type, q.Flags, q.At, data)
		if err != nil {
			return err
		}
		b := binary.BigEndian.AppendUint32(nil, replyMagic)
		b = binary.BigEndian.AppendUint32(b, code)
		b = binary.BigEndian.AppendUint64(b, q.Handle)
		if q.Type == cmdRead && code == 0 {
			b = append(b, data...)
		}
		if _, err := c.Write(b); err != nil {
			return err
		}
	}
}

// do carries out one request and returns the error number for the guest.
func (d *Disk) do(kind, flags uint16, at uint64, data []byte) (uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cut {
		return 0, errCut
	}
	if at > uint64(d.size) || uint64(len(data)) > uint64(d.size)-at || len(data)%sector != 0 {
		return errInvalid, nil
	}
	if flushes := kind == cmdFlush || kind == cmdWrite && flags&flagFUA != 0; flushes && d.atFlush != nil && len(d.pending) > 0 {
		d.atFlush()
		return 0, errCut
	}
	var err error
	switch kind {
	case cmdRead:
		err = d.read(data, int64(at))
	case cmdWrite:
		d.stats.Writes++
		d.pending = append(d.pending, write{int64(at), data})
		if flags&flagFUA != 0 {
			err = d.flush()
		}
	case cmdFlush:
		d.stats.Flushes++
		err = d.flush()
	case cmdDisc:
		return 0, io.EOF
	default:
		return errInvalid, nil
	}
	if err != nil {
		return errIO, nil
	}
	return 0, nil
}
