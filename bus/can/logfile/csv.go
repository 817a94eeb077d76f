package logfile

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
)

// row is a line of a CSV file whose columns have names.
type row struct {
	columns map[string]int
	cells   [][]byte
}

func (r row) cell(name string) []byte {
	i, ok := r.columns[name]
	if !ok || i >= len(r.cells) {
		return nil
	}
	return bytes.TrimSpace(r.cells[i])
}

func (r row) yes(name string) bool {
	switch strings.ToLower(string(r.cell(name))) {
	case "true", "1":
		return true
	}
	return false
}

func parseHex(text []byte) (uint32, error) {
	s := strings.TrimPrefix(strings.ToLower(string(text)), "0x")
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		return 0, errLine
	}
	return uint32(n), nil
}

// savvyFile is the CSV of SavvyCAN: times in microseconds, bytes in columns.
type savvyFile struct {
	columns map[string]int
	headed  bool
	f       frame
	data    [64]byte
}

func (p *savvyFile) parse(line []byte) (*frame, error) {
	if len(line) == 0 || !p.headed {
		p.headed = p.headed || len(line) > 0
		return nil, nil
	}
	r := row{p.columns, bytes.Split(line, []byte(","))}
	id, err1 := parseHex(r.cell("id"))
	ns, err2 := nanoseconds(r.cell("time stamp"), 1000)
	n, err3 := strconv.ParseUint(string(r.cell("len")), 10, 8)
	first, known := p.columns["d1"]
	if err1 != nil || err2 != nil || err3 != nil || !known || n > 64 || first+int(n) > len(r.cells) {
		return nil, errLine
	}
	f := &p.f
	*f = frame{ns: ns, id: id, bus: "can" + number(r.cell("bus")), extended: r.yes("extended"), fd: n > 8, data: p.data[:n]}
	for i := range f.data {
		b, err := parseHex(r.cells[first+i])
		if err != nil || b > 0xFF {
			return nil, errLine
		}
		f.data[i] = byte(b)
	}
	return f.check()
}

// number is text if it is a small number, else 0.
func number(text []byte) string {
	if n, err := strconv.ParseUint(string(text), 10, 8); err == nil {
		return strconv.FormatUint(n, 10)
	}
	return "0"
}

// pythonFile is the CSV of python-can: times in seconds, data in base64. It
// does not name the bus.
type pythonFile struct {
	columns map[string]int
	headed  bool
	f       frame
}

func (p *pythonFile) parse(line []byte) (*frame, error) {
	if len(line) == 0 || !p.headed {
		p.headed = p.headed || len(line) > 0
		return nil, nil
	}
	r := row{p.columns, bytes.Split(line, []byte(","))}
	id, err1 := parseHex(r.cell("arbitration_id"))
	ns, err2 := nanoseconds(r.cell("timestamp"), 1e9)
	data, err3 := base64.StdEncoding.AppendDecode(p.f.data[:0], r.cell("data"))
	if err3 != nil {
		data, err3 = hex.AppendDecode(nil, r.cell("data"))
	}
	if err1 != nil || err2 != nil || err3 != nil {
		return nil, errLine
	}
	f := &p.f
	*f = frame{ns: ns, id: id, bus: "can0", extended: r.yes("extended"), remote: r.yes("remote"), failed: r.yes("error"), fd: len(data) > 8, data: data}
	if f.remote {
		n, err := strconv.Atoi(string(r.cell("dlc")))
		if f.length = n; err != nil || n < 0 {
			return nil, errLine
		}
	}
	return f.check()
}
