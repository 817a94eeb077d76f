package dbc

import (
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/logfile"
)

// logLine is one frame of a candump log. Its slices are parts of the line.
type logLine struct {
	stamp    []byte // the time as the log has it; nil if it has none
	quoted   bool   // stamp is a date, not a number
	bus      []byte
	id       uint32
	flags    can.Flags
	length   int // of data; of a remote frame, the length asked for
	data     [can.MaxDataLen]byte
	extended bool
}

const notHex = 0xFF

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

// Bits of the id as the kernel and candump write it (linux/can.h).
const (
	errorFlag = 0x20000000

	errorController      = 4 // CAN_ERR_CRTL, of an error frame's id
	overflowOfController = 1 // CAN_ERR_CRTL_RX_OVERFLOW, of its second byte

	bitRate  = 1 // CANFD_BRS
	errState = 2 // CANFD_ESI
)

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// blanks returns the offset of the first byte from i on that is no blank.
func blanks(b []byte, i int) int {
	for i < len(b) && isBlank(b[i]) {
		i++
	}
	return i
}

// wordEnd returns the offset behind the word at i.
func wordEnd(b []byte, i int) int {
	for i < len(b) && !isBlank(b[i]) {
		i++
	}
	return i
}

// parse reads a line of any of candump's formats:
//
//	(1436509052.249713) vcan0 044#2A366C2BBA0A0B0C
//	 (1436509052.249713)  vcan0  044   [8]  2A 36 6C 2B BA 0A 0B 0C
//	  vcan0  RX - -  044   [8]  remote request
//
// The first is that of candump -l and -L, the others are what it shows, with or
// without times (-ta, -tA, -td, -tz), direction and flags (-x), and text (-a).
func (l *logLine) parse(b []byte) error {
	for len(b) > 0 && b[len(b)-1] <= ' ' {
		b = b[:len(b)-1]
	}
	if len(b) > can.MaxLogLine {
		return can.ErrLogLineLong
	}
	i, ok := l.parseStamp(b, blanks(b, 0))
	if !ok && string(b) == logfile.NotAFrame {
		return can.ErrLogForeign
	}
	if !ok {
		return can.ErrLogTime
	}
	i = blanks(b, i)
	end := wordEnd(b, i)
	if l.bus = b[i:end]; len(l.bus) == 0 {
		return can.ErrLogInterface
	}
	i = blanks(b, end)
	start, id := i, uint32(0)
	for i < len(b) && nibble[b[i]] != notHex && i-start < 9 {
		id = id<<4 | uint32(nibble[b[i]])
		i++
	}
	if i < len(b) && b[i] == '#' {
		if err := l.setID(id, i-start); err != nil {
			return err
		}
		return l.parseCompact(b, i+1)
	}
	return l.parseShown(b, start)
}

// parseStamp reads the time in parentheses, if there is one.
func (l *logLine) parseStamp(b []byte, i int) (next int, ok bool) {
	l.stamp, l.quoted = nil, false
	if i >= len(b) || b[i] != '(' {
		return i, i < len(b) && i > 0 // without time, candump begins with blanks
	}
	i++
	start, digits, point := i, 0, -1
	for ; i < len(b) && b[i] != ')'; i++ {
		switch c := b[i]; {
		case c-'0' <= 9:
			digits++
		case c == '.' && point < 0:
			point = i
		case c == '-' || c == ':' || c == ' ':
			l.quoted = true
		default:
			return i, false
		}
	}
	if i == len(b) || digits == 0 || i-start > 40 || point == start || point == i-1 {
		return i, false
	}
	if !l.quoted { // a JSON number has no leading zeros
		for b[start] == '0' && start+1 < i && b[start+1] != '.' {
			start++
		}
	}
	l.stamp = b[start:i]
	return i + 1, true
}

func (l *logLine) setID(id uint32, digits int) error {
	l.flags, l.extended = 0, digits == 8
	switch {
	case digits == 3 && id <= can.MaxID:
	case digits == 8:
		l.flags = can.Extended
		if id&errorFlag != 0 {
			l.flags = can.ErrorFrame
		}
		if id&^errorFlag > can.MaxExtendedID {
			return can.ErrLogIDRange
		}
	case digits == 3:
		return can.ErrLogIDRange
	default:
		return can.ErrLogID
	}
	l.id = id
	return nil
}

// parseCompact reads what follows '#'.
func (l *logLine) parseCompact(b []byte, i int) error {
	limit := 8
	if i < len(b) && l.flags&can.ErrorFrame == 0 {
		switch b[i] {
		case 'R':
			return l.parseRemote(b, i+1)
		case '#':
			if i+1 >= len(b) || nibble[b[i+1]] == notHex {
				return can.ErrLogData
			}
			l.setFD(nibble[b[i+1]])
			i, limit = i+2, can.MaxDataLen
		}
	}
	n := 0
	for i < len(b) && !isBlank(b[i]) {
		if i+1 >= len(b) {
			return can.ErrLogData
		}
		high, low := nibble[b[i]], nibble[b[i+1]]
		if high|low == notHex {
			if n == 8 && limit == 8 && b[i] == '_' && rawLength(b[i+1]) { // candump -8
				i += 2
				break
			}
			return can.ErrLogData
		}
		if n == limit {
			return can.ErrLogLength
		}
		l.data[n] = high<<4 | low
		n++
		i += 2
	}
	l.length = n
	return trailing(b, i)
}

func (l *logLine) setFD(flags byte) {
	l.flags |= can.FD
	if flags&bitRate != 0 {
		l.flags |= can.BitRateSwitch
	}
	if flags&errState != 0 {
		l.flags |= can.ErrorState
	}
}

func rawLength(c byte) bool { return nibble[c] > 8 && nibble[c] != notHex }

func (l *logLine) parseRemote(b []byte, i int) error {
	l.flags |= can.Remote
	l.length = 0
	if i < len(b) && b[i]-'0' <= 8 {
		l.length = int(b[i] - '0')
		i++
	}
	if i+1 < len(b) && b[i] == '_' && rawLength(b[i+1]) {
		i += 2
	}
	return trailing(b, i)
}

// trailing accepts the end of the line, or the direction that candump -x adds.
func trailing(b []byte, i int) error {
	if i == len(b) {
		return nil
	}
	if !isBlank(b[i]) {
		return can.ErrLogTrailing
	}
	i = blanks(b, i)
	if i == len(b) || i+1 == len(b) && (b[i] == 'R' || b[i] == 'T') {
		return nil
	}
	return can.ErrLogTrailing
}

// parseShown reads what candump shows behind the interface: [DIRECTION FLAGS]
// ID [LENGTH] DATA.
func (l *logLine) parseShown(b []byte, i int) error {
	var fdFlags byte
	if i+7 < len(b) && (b[i] == 'R' || b[i] == 'T') && b[i+1] == 'X' && isBlank(b[i+2]) {
		i = blanks(b, i+2)
		if i+3 > len(b) {
			return can.ErrLogID
		}
		if b[i] == 'B' {
			fdFlags |= bitRate
		}
		if b[i+2] == 'E' {
			fdFlags |= errState
		}
		i = blanks(b, i+3)
	}
	start, id := i, uint32(0)
	for i < len(b) && nibble[b[i]] != notHex && i-start < 9 {
		id = id<<4 | uint32(nibble[b[i]])
		i++
	}
	if i == len(b) || !isBlank(b[i]) {
		return can.ErrLogID
	}
	if err := l.setID(id, i-start); err != nil {
		return err
	}
	i = blanks(b, i)
	next, length, fd, err := shownLength(b, i)
	if err != nil {
		return err
	}
	if fd {
		l.setFD(fdFlags)
	}
	return l.parseShownData(b, blanks(b, next), length)
}

// shownLength reads [8], {8} of candump -8, or [08] of a CAN FD frame.
func shownLength(b []byte, i int) (next, length int, fd bool, err error) {
	if i >= len(b) || b[i] != '[' && b[i] != '{' {
		return i, 0, false, can.ErrLogID
	}
	closing := b[i] + 2 // ']' and '}' in ASCII
	start := i + 1
	for i = start; i < len(b) && nibble[b[i]] != notHex && i-start < 3; i++ {
		if b[i]-'0' > 9 {
			length = 8 // a raw length code of 9 to 15 has 8 bytes
			continue
		}
		length = length*10 + int(b[i]-'0')
	}
	digits := i - start
	if i == len(b) || b[i] != closing || digits == 0 {
		return i, 0, false, can.ErrLogLength
	}
	fd = digits == 2
	switch {
	case closing == '}':
		length = min(length, 8)
	case length > can.MaxDataLen || !fd && length > 8:
		return i, 0, false, can.ErrLogLength
	}
	return i + 1, length, fd, nil
}

// parseShownData reads length bytes; what follows them (text, ERRORFRAME) is
// not data.
func (l *logLine) parseShownData(b []byte, i, length int) error {
	l.length = length
	if i < len(b) && b[i] == 'r' { // "remote request"
		l.flags |= can.Remote
		return nil
	}
	for n := range length {
		if i+1 >= len(b) {
			return can.ErrLogData
		}
		high, low := nibble[b[i]], nibble[b[i+1]]
		if high|low == notHex || i+2 < len(b) && !isBlank(b[i+2]) {
			return can.ErrLogData
		}
		l.data[n] = high<<4 | low
		i = blanks(b, i+2)
	}
	return nil
}

// time returns the stamp in nanoseconds, or 0 if there is none.
func (l *logLine) time() int64 {
	if l.quoted {
		return l.date()
	}
	var seconds, fraction int64
	unit := int64(1e9)
	point := false
	for _, c := range l.stamp {
		switch {
		case c == '.':
			point = true
		case point:
			unit /= 10
			fraction += int64(c-'0') * unit
		case seconds < 920_000_000: // to the year 2261
			seconds = seconds*10 + int64(c-'0')
		}
	}
	return seconds*1e9 + fraction
}

// date returns the time of a date as candump -tA writes it, in no particular
// time zone: only differences count.
func (l *logLine) date() int64 {
	t, err := time.Parse("2006-01-02 15:04:05.999999999", string(l.stamp))
	if err != nil {
		return 0
	}
	return t.UnixNano()
}
