package logfile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// maxLine is the longest line that can hold a frame; longer ones are cut.
const maxLine = 16 << 10

// lineParser reads the lines of a kind of file one after the other. What it
// returns is a frame, nothing, or an error where there should be a frame.
type lineParser interface {
	parse(line []byte) (*frame, error)
}

var errLine = errors.New("not a frame")

// frame is what a line says. It is the parser's until its next line.
type frame struct {
	ns                           int64
	bus                          string
	id                           uint32
	extended, remote, fd, failed bool
	brs, esi                     bool
	length                       int // of a remote frame
	data                         []byte
}

// converter turns lines into candump's.
type converter struct {
	in   *bufio.Reader
	p    lineParser
	out  []byte
	left []byte
	err  error
}

func newConverter(r io.Reader, p lineParser) *converter {
	return &converter{in: bufio.NewReaderSize(r, maxLine), p: p}
}

// Read implements io.Reader, line by line.
func (c *converter) Read(p []byte) (int, error) {
	for len(c.left) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.next()
	}
	n := copy(p, c.left)
	c.left = c.left[n:]
	return n, nil
}

func (c *converter) next() {
	line, err := c.in.ReadSlice('\n')
	long := false
	for errors.Is(err, bufio.ErrBufferFull) {
		long = true
		_, err = c.in.ReadSlice('\n')
	}
	c.err = err
	if err != nil && len(line) == 0 && !long {
		return
	}
	c.out = c.out[:0]
	if f, bad := c.p.parse(bytes.TrimSpace(line)); long || bad != nil {
		c.out = append(c.out, NotAFrame...)
	} else if f != nil {
		c.out = f.append(c.out)
	}
	c.out = append(c.out, '\n')
	c.left = c.out
}

// append writes a frame as candump -l does.
func (f *frame) append(b []byte) []byte {
	sec, rest := f.ns/1e9, f.ns%1e9
	if rest%1000 == 0 {
		b = fmt.Appendf(b, "(%d.%06d) %s ", sec, rest/1000, f.bus)
	} else {
		b = fmt.Appendf(b, "(%d.%09d) %s ", sec, rest, f.bus)
	}
	switch {
	case f.failed:
		return append(b, "20000080#0000000000000000"...) // CAN_ERR_BUSERROR
	case f.extended:
		b = fmt.Appendf(b, "%08X#", f.id)
	default:
		b = fmt.Appendf(b, "%03X#", f.id)
	}
	switch {
	case f.remote:
		return strconv.AppendInt(append(b, 'R'), int64(f.length), 10)
	case f.fd:
		flags := 0
		if f.brs {
			flags |= 1
		}
		if f.esi {
			flags |= 2
		}
		b = fmt.Appendf(b, "#%d", flags)
	}
	return fmt.Appendf(b, "%X", f.data)
}

// check refuses what no bus carries.
func (f *frame) check() (*frame, error) {
	most, highest := 8, uint32(0x7FF)
	if f.fd {
		most = 64
	}
	if f.extended {
		highest = 0x1FFFFFFF
	}
	if f.id > highest && !f.failed || len(f.data) > most || f.length > 8 || f.ns < 0 {
		return nil, errLine
	}
	return f, nil
}

// nanoseconds reads a number with a point, of which unit is 1; digits behind
// the ninth are cut off.
func nanoseconds(text []byte, unit int64) (int64, error) {
	whole, fraction, _ := bytes.Cut(text, []byte("."))
	n, err := strconv.ParseInt(string(whole), 10, 64)
	if err != nil || n < 0 || n > 9_200_000_000_000_000_000/unit {
		return 0, errLine
	}
	n *= unit
	for i := 0; i < len(fraction); i++ {
		d := fraction[i] - '0'
		if d > 9 {
			return 0, errLine
		}
		unit /= 10
		n += int64(d) * unit
	}
	return n, nil
}
