package can

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"fieldferry/bus/can/logfile"

	"golang.org/x/sys/unix"
)

// MaxLogLine is the longest line a log may have, in bytes. The longest that
// candump writes, a CAN FD frame, has about 190.
const MaxLogLine = 1024

// What is wrong with a line of a log. They are wrapped in a [LineError] by
// [LogReader].
var (
	ErrLogTime      = errors.New("no time stamp like (1436509052.249713)")
	ErrLogInterface = errors.New("no interface name")
	ErrLogID        = errors.New("not a frame: the id needs 3 or 8 hexadecimal digits and '#'")
	ErrLogIDRange   = errors.New("the id is out of range")
	ErrLogData      = errors.New("the data is not pairs of hexadecimal digits")
	ErrLogLength    = errors.New("more data than a frame can hold")
	ErrLogTrailing  = errors.New("unexpected text after the frame")
	ErrLogForeign   = errors.New("the frame in it cannot be read")
	ErrLogLineLong  = fmt.Errorf("longer than %d bytes", MaxLogLine)
)

// nibble is the value of a hexadecimal digit, or notHex.
var nibble = func() (t [256]byte) {
	for i := range t {
		t[i] = notHex
	}
	for i := range byte(10) {
		t['0'+i] = i
	}
	for i := range byte(6) {
		t['A'+i], t['a'+i] = 10+i, 10+i
	}
	return t
}()

const notHex = 0xff

// ParseLogLine reads one line as candump -l writes it, with or without its
// end:
//
//	(1436509052.249713) vcan0 044#2A366C2BBA
//
// The fraction may have up to 9 digits; the R or T that candump -x adds is
// accepted. iface is a part of line. Nothing is allocated, whatever the line.
func ParseLogLine(line []byte) (f Frame, iface []byte, err error) {
	iface, err = parseLogLine(&f, line)
	if err != nil {
		return Frame{}, nil, err
	}
	return f, iface, nil
}

func parseLogLine(f *Frame, line []byte) (iface []byte, err error) {
	line = trimRight(line)
	if len(line) > MaxLogLine {
		return nil, ErrLogLineLong
	}
	stamp, rest, ok := parseStamp(line)
	if !ok && string(line) == logfile.NotAFrame {
		return nil, ErrLogForeign
	}
	if !ok {
		return nil, ErrLogTime
	}
	line = rest
	iface, line = field(line)
	if len(iface) == 0 {
		return nil, ErrLogInterface
	}
	text, line := field(line)
	if err := parseFrame(f, text); err != nil {
		return nil, err
	}
	f.Time = stamp
	if direction, rest := field(line); len(rest) > 0 ||
		len(direction) > 1 || len(direction) == 1 && direction[0] != 'R' && direction[0] != 'T' {
		return nil, ErrLogTrailing
	}
	return iface, nil
}

// parseStamp reads "(SECONDS.FRACTION)" at the beginning of line.
func parseStamp(line []byte) (ns int64, rest []byte, ok bool) {
	const maxSeconds = 9_200_000_000 // the year 2261: nanoseconds fit into 63 bits
	if len(line) == 0 || line[0] != '(' {
		return 0, nil, false
	}
	i, sec := 1, int64(0)
	for ; i < len(line) && line[i]-'0' <= 9; i++ {
		if sec = sec*10 + int64(line[i]-'0'); sec > maxSeconds {
			return 0, nil, false
		}
	}
	if i == 1 || i == len(line) {
		return 0, nil, false
	}
	frac, unit := int64(0), int64(1e9)
	if line[i] == '.' {
		for i++; i < len(line) && line[i]-'0' <= 9; i++ {
			if unit /= 10; unit == 0 {
				return 0, nil, false
			}
			frac += int64(line[i]-'0') * unit
		}
	}
	if i == len(line) || line[i] != ')' {
		return 0, nil, false
	}
	return sec*1e9 + frac, line[i+1:], true
}

// field returns the first word of line and what follows it.
func field(line []byte) (word, rest []byte) {
	for len(line) > 0 && (line[0] == ' ' || line[0] == '\t') {
		line = line[1:]
	}
	for i, c := range line {
		if c == ' ' || c == '\t' {
			return line[:i], line[i:]
		}
	}
	return line, nil
}

func trimRight(line []byte) []byte {
	for len(line) > 0 && line[len(line)-1] <= ' ' {
		line = line[:len(line)-1]
	}
	return line
}

// parseFrame reads candump's notation into f, all of it but the time.
func parseFrame(f *Frame, text []byte) error {
	*f = Frame{}
	rest, err := parseID(f, text)
	if err != nil {
		return err
	}
	if len(rest) > 0 && f.Flags&ErrorFrame == 0 {
		switch rest[0] {
		case 'R':
			f.Flags |= Remote
			return parseRemote(f, rest[1:])
		case '#':
			if len(rest) < 2 || nibble[rest[1]] == notHex {
				return ErrLogData
			}
			f.Flags |= FD
			flags := nibble[rest[1]]
			if flags&wireBRS != 0 {
				f.Flags |= BitRateSwitch
			}
			if flags&wireESI != 0 {
				f.Flags |= ErrorState
			}
			return parseData(f, rest[2:], MaxDataLen)
		}
	}
	// A raw length code (candump -8) stands behind 8 bytes as "_9" to "_F".
	if n := len(rest); n == 18 && rest[16] == '_' && rawLength(rest[17]) {
		rest = rest[:16]
	}
	return parseData(f, rest, maxClassicLen)
}

func parseID(f *Frame, text []byte) (rest []byte, err error) {
	digits, id := 0, uint32(0)
	for digits < len(text) && digits < 9 && nibble[text[digits]] != notHex {
		id = id<<4 | uint32(nibble[text[digits]])
		digits++
	}
	if digits == len(text) || text[digits] != '#' {
		return nil, ErrLogID
	}
	switch digits {
	case 3:
		if id > MaxID {
			return nil, ErrLogIDRange
		}
	case 8:
		f.Flags = Extended
		if id&unix.CAN_ERR_FLAG != 0 {
			f.Flags = ErrorFrame
			id &^= unix.CAN_ERR_FLAG
		}
		if id > MaxExtendedID {
			return nil, ErrLogIDRange
		}
	default:
		return nil, ErrLogID
	}
	f.ID = id
	return text[digits+1:], nil
}

func parseRemote(f *Frame, rest []byte) error {
	if len(rest) == 3 && rest[0] == '8' && rest[1] == '_' && rawLength(rest[2]) {
		rest = rest[:1]
	}
	switch {
	case len(rest) == 0:
		return nil
	case len(rest) == 1 && rest[0] >= '0' && rest[0] <= '8':
		f.Len = rest[0] - '0'
		return nil
	}
	return ErrLogTrailing
}

func rawLength(c byte) bool { return nibble[c] > 8 && nibble[c] != notHex }

func parseData(f *Frame, text []byte, maxLen int) error {
	if len(text) > 2*maxLen {
		return ErrLogLength
	}
	if len(text)%2 != 0 {
		return ErrLogData
	}
	for i := 0; i+1 < len(text); i += 2 {
		hi, lo := nibble[text[i]], nibble[text[i+1]]
		if hi|lo == notHex {
			return ErrLogData
		}
		f.Data[i/2] = hi<<4 | lo
	}
	f.Len = uint8(len(text) / 2)
	return nil
}

// AppendLog appends the line candump -l writes for f, its end included. The
// format has microseconds: the rest of f.Time is cut off, times before 1970
// count as 1970.
func AppendLog(dst []byte, f Frame, iface string) []byte {
	us := max(f.Time, 0) / 1000
	dst = append(dst, '(')
	dst = appendPadded(dst, us/1e6, 10)
	dst = append(dst, '.')
	dst = appendPadded(dst, us%1e6, 6)
	dst = append(dst, ") "...)
	dst = append(dst, iface...)
	dst = append(dst, ' ')
	return append(f.Append(dst), '\n')
}

func appendPadded(dst []byte, v int64, width int) []byte {
	var buf [20]byte
	i := len(buf)
	for v > 0 || len(buf)-i < width {
		i--
		buf[i] = '0' + byte(v%10)
		v /= 10
	}
	return append(dst, buf[i:]...)
}

// LineError is a line of a log that holds no frame. The lines after it can
// still be read.
type LineError struct {
	Line int64 // from 1
	Err  error // one of this package's ErrLog errors
}

// Error names the line and what is wrong with it.
func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Err) }

// Unwrap returns the cause.
func (e *LineError) Unwrap() error { return e.Err }

// LogReader reads the frames of a log one after the other, in bounded memory
// and without allocating per frame. It is not safe for concurrent use.
type LogReader struct {
	r    *bufio.Reader
	line int64
	long bool // in the middle of a line that is too long
}

// NewLogReader returns a reader of r.
func NewLogReader(r io.Reader) *LogReader {
	return &LogReader{r: bufio.NewReaderSize(r, 64<<10)}
}

// Reset begins anew with r, at line 1.
func (l *LogReader) Reset(r io.Reader) {
	l.r.Reset(r)
	l.line, l.long = 0, false
}

// Next reads the next frame into f. Empty lines are passed over. A line that
// is no frame yields a *[LineError]; the next call goes on behind it. A line
// that is far too long yields one for every 64 KiB of it, so that a call ends
// in bounded time. At the end it returns io.EOF. iface is valid until the next call.
func (l *LogReader) Next(f *Frame) (iface []byte, err error) {
	for {
		line, err := l.r.ReadSlice('\n')
		begins := !l.long
		l.long = errors.Is(err, bufio.ErrBufferFull)
		if begins && len(line) > 0 {
			l.line++
		}
		switch {
		case l.long, !begins && err == nil:
			if !l.long {
				continue // the end of a line already reported
			}
			return nil, &LineError{l.line, ErrLogLineLong}
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		case err != nil && (len(line) == 0 || !begins):
			return nil, io.EOF
		}
		if len(trimRight(line)) == 0 {
			continue
		}
		iface, bad := parseLogLine(f, line)
		if bad != nil {
			return nil, &LineError{l.line, bad}
		}
		return iface, nil
	}
}
