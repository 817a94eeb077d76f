package logfile

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ascFile is a log of Vector's tools. Lines that begin with a time and are not
// of a frame are events of the tool, statistics and comments.
type ascFile struct {
	start    int64 // of the file, ns since 1970
	last     int64 // time of the line before
	decimal  bool  // base dec
	relative bool  // each time is since the line before
	f        frame
	data     [64]byte
}

// The bits of the last-but-one column of a CANFD line.
const ascFD = 0x1000

func (p *ascFile) parse(line []byte) (*frame, error) {
	if len(line) == 0 || line[0]-'0' > 9 {
		p.header(string(line))
		return nil, nil
	}
	w := bytes.Fields(line)
	at, err := nanoseconds(w[0], 1e9)
	if err != nil {
		return nil, errLine
	}
	if p.relative {
		at += p.last
	}
	p.last = at
	if len(w) < 3 {
		return nil, nil
	}
	p.f = frame{ns: p.start + at}
	if strings.EqualFold(string(w[1]), "CANFD") {
		return p.flexible(w[2:])
	}
	return p.classic(w[1:])
}

// header takes what the lines before the frames say.
func (p *ascFile) header(line string) {
	words := strings.Fields(strings.ToLower(line))
	if len(words) < 2 {
		return
	}
	switch words[0] {
	case "date":
		if at, ok := ascDate(words[1:]); ok {
			p.start = at.UnixNano()
		}
	case "base":
		p.decimal = words[1] == "dec"
		p.relative = len(words) > 3 && words[3] == "relative"
	}
}

// ascMonths are the months as English and German machines write them; those that
// are written in several ways stand there several times.
const ascMonths = "jan1 feb2 mar3 mär3 mrz3 apr4 may5 mai5 jun6 jul7 aug8 sep9 oct10 okt10 nov11 dec12 dez12 "

// ascMonth is the month of a word of three letters.
func ascMonth(word string) (time.Month, bool) {
	_, rest, ok := strings.Cut(ascMonths, word)
	number, _, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(number)
	return time.Month(n), ok && err == nil && utf8.RuneCountInString(word) == 3
}

// ascDate reads "wed nov 25 10:00:00 2026" and "wed nov 25 10:00:00.123 pm
// 2026", in the words of English and German machines.
func ascDate(w []string) (t time.Time, ok bool) {
	if len(w) < 5 {
		return t, false
	}
	month, known := ascMonth(w[1][:min(len(w[1]), 3+strings.Count(w[1][:min(len(w[1]), 3)], "ä"))])
	day, err1 := strconv.Atoi(strings.TrimSuffix(w[2], "."))
	year, err2 := strconv.Atoi(w[len(w)-1])
	clock, err3 := time.Parse("15:04:05", w[3]) // takes a fraction too
	if !known || err1 != nil || err2 != nil || err3 != nil || year < 1970 || year > 2200 {
		return t, false
	}
	hour := clock.Hour()
	if w[4] == "pm" && hour < 12 {
		hour += 12
	} else if w[4] == "am" && hour == 12 {
		hour = 0
	}
	return time.Date(year, month, day, hour, clock.Minute(), clock.Second(), clock.Nanosecond(), time.Local), true
}

// channel names the bus of a channel, which the tools count from 1.
func (p *ascFile) channel(w []byte) bool {
	n, err := strconv.ParseUint(string(w), 10, 8)
	if err != nil || n == 0 {
		return false
	}
	p.f.bus = "can" + strconv.FormatUint(n-1, 10)
	return true
}

func (p *ascFile) base() int {
	if p.decimal {
		return 10
	}
	return 16
}

// id reads an identifier; an extended one ends with x.
func (p *ascFile) id(w []byte) bool {
	text, extended := strings.CutSuffix(strings.ToLower(string(w)), "x")
	n, err := strconv.ParseUint(text, p.base(), 32)
	p.f.id, p.f.extended = uint32(n), extended
	return err == nil
}

func (p *ascFile) bytes(w [][]byte, n int) bool {
	if n > len(w) || n > len(p.data) {
		return false
	}
	p.f.data = p.data[:n]
	for i := range p.f.data {
		b, err := strconv.ParseUint(string(w[i]), p.base(), 8)
		if err != nil {
			return false
		}
		p.f.data[i] = byte(b)
	}
	return true
}

func isDirection(w []byte) bool {
	switch strings.ToLower(string(w)) {
	case "rx", "tx", "txrq":
		return true
	}
	return false
}

// classic reads CHANNEL ID DIRECTION d|r LENGTH DATA, or ErrorFrame.
func (p *ascFile) classic(w [][]byte) (*frame, error) {
	if !p.channel(w[0]) {
		return nil, nil // CAN 1 Status, and what else there is
	}
	if strings.EqualFold(string(w[1]), "ErrorFrame") {
		p.f.failed = true
		return &p.f, nil
	}
	if len(w) < 4 || !isDirection(w[2]) {
		return nil, nil // a statistic
	}
	if !p.id(w[1]) {
		return nil, errLine
	}
	length := 0
	if len(w) > 4 {
		n, err := strconv.ParseUint(string(w[4]), 16, 8)
		if err != nil && string(w[3]) == "d" {
			return nil, errLine
		}
		length = min(int(n), 8) // a DLC of 9 to 15 is 8 bytes
	}
	switch string(w[3]) {
	case "r":
		p.f.remote, p.f.length = true, length
	case "d":
		if len(w) < 5 || !p.bytes(w[5:], length) {
			return nil, errLine
		}
	default:
		return nil, errLine
	}
	return p.f.check()
}

// flexible reads CHANNEL DIRECTION ID [NAME] BRS ESI DLC LENGTH DATA, and
// behind it, if there: DURATION BITS FLAGS.
func (p *ascFile) flexible(w [][]byte) (*frame, error) {
	if len(w) >= 3 && p.channel(w[0]) && strings.EqualFold(string(w[2]), "ErrorFrame") {
		p.f.failed = true
		return &p.f, nil
	}
	if len(w) < 7 || !p.channel(w[0]) || !isDirection(w[1]) || !p.id(w[2]) {
		return nil, errLine
	}
	rest := w[3:]
	if len(rest[0]) != 1 || rest[0][0] != '0' && rest[0][0] != '1' {
		rest = rest[1:] // the name of the message
	}
	if len(rest) < 4 {
		return nil, errLine
	}
	length, err := strconv.ParseUint(string(rest[3]), 10, 8)
	if err != nil || !p.bytes(rest[4:], int(length)) {
		return nil, errLine
	}
	p.f.brs, p.f.esi, p.f.fd = string(rest[0]) == "1", string(rest[1]) == "1", true
	if tail := rest[4+length:]; len(tail) >= 3 {
		flags, err := strconv.ParseUint(string(tail[2]), 16, 32)
		p.f.fd = err != nil || flags&ascFD != 0 || length > 8
		if err == nil && flags&0x10 != 0 && length == 0 {
			p.f.remote = true
		}
	}
	return p.f.check()
}
