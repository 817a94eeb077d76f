package dbc

import (
	"bytes"
	"math"
)

// maxKeywordLen is the length of the longest keyword.
const maxKeywordLen = 16

// keywords begin a statement.
var keywords = func() map[string]bool {
	m := make(map[string]bool)
	for _, k := range []string{
		"VERSION", "NS_", "BS_", "BU_", "BO_", "SG_", "VAL_", "VAL_TABLE_", "SIG_VALTYPE_", "SG_MUL_VAL_", "CM_", "BA_",
		"BA_DEF_", "BA_DEF_DEF_", "NS_DESC_", "CAT_DEF_", "CAT_", "FILTER", "EV_", "EV_DATA_", "ENVVAR_DATA_", "SGTYPE_",
		"SGTYPE_VAL_", "BA_DEF_SGTYPE_", "BA_SGTYPE_", "SIG_TYPE_REF_", "SIG_GROUP_", "SIGTYPE_VALTYPE_", "BO_TX_BU_",
		"BA_DEF_REL_", "BA_REL_", "BA_DEF_DEF_REL_", "BU_SG_REL_", "BU_EV_REL_", "BU_BO_REL_",
	} {
		m[k] = true
	}
	return m
}()

func isKeyword(w []byte) bool { return keywords[string(w)] }

// isReserved reports whether a word cannot be a name. VERSION and FILTER can.
func isReserved(w []byte) bool { return len(w) > 0 && w[len(w)-1] == '_' && isKeyword(w) }

// parser reads one file. The first pass gathers what the statements say; what
// refers to messages and signals is applied by resolve, in any order.
type parser struct {
	scanner
	reports
	o Options

	file     *File
	messages []*rawMessage
	current  *rawMessage // of the SG_ statements to come; nil before any
	signals  int
	details  int
	pairs    int // of signals compared by overlaps

	byID      map[messageKey]*rawMessage
	names     map[string]string // texts that repeat, kept once
	tables    map[string][]tableLabel
	refs      []reference
	attrs     attributes
	longNodes map[string]string
	known     int // statements understood
	comments  int // bytes of comments kept
}

type messageKey struct {
	id       uint32
	extended bool
}

// rawMessage is a message as its statements say.
type rawMessage struct {
	*Message
	pos     int
	bad     bool // left out: statements about it are of no interest
	full    bool // has as many signals as a message may have
	ignored bool // VECTOR__INDEPENDENT_SIG_MSG, which holds signals of no message
	signals []rawSignal
	index   map[string]int       // the first signal of a name; the others by rawSignal.next
	pages   map[int][]*reference // SG_MUL_VAL_ by the first signal of the name
	frame   string               // VFrameFormat
	framed  bool                 // VFrameFormat is set
}

// rawSignal is a signal as its statements say.
type rawSignal struct {
	Signal
	pos            int
	bad            bool
	unread         bool // its statement cannot be read
	duplicate      bool // left out because of an earlier one of its name
	factor, offset number
	muxed          bool // m0, or m alone
	numbered       bool // m0
	muxValue       uint64
	markPos        int
	next           int    // the next signal of this name, or -1
	parent         string // of SG_MUL_VAL_
	parentPos      int
	parentIndex    int // in the message's signals; -1 without
}

type tableLabel struct {
	raw  uint64
	text string
}

// Parse reads a DBC file. name is for the diagnostics. The File is never nil;
// with a [Fatal] diagnostic it is empty. See [Err] for the decision whether to
// use it.
func Parse(name string, data []byte, o Options) (*File, []Diagnostic) {
	o = o.withDefaults()
	p := &parser{
		scanner: scanner{data: data},
		reports: reports{max: o.MaxDiagnostics},
		o:       o,
		file:    &File{Name: name},
		byID:    make(map[messageKey]*rawMessage),
		names:   make(map[string]string),
		tables:  make(map[string][]tableLabel),
	}
	if !p.run() {
		p.file = &File{Name: name}
	}
	return p.file, p.diagnostics(name, data)
}

// run reports whether the file is of any use.
func (p *parser) run() bool {
	const notText = "save it as text in UTF-8 or Windows-1252"
	switch {
	case len(p.data) > p.o.MaxSize:
		p.add(-1, Fatal, "leave out what this gateway does not need", "larger than %d bytes", p.o.MaxSize)
		return false
	case bytes.HasPrefix(p.data, []byte("\xFF\xFE")), bytes.HasPrefix(p.data, []byte("\xFE\xFF")):
		p.add(-1, Fatal, notText, "the file is UTF-16")
		return false
	case bytes.HasPrefix(p.data, []byte("\xEF\xBB\xBF")):
		p.pos = 3
	}
	for p.space(); !p.eof(); p.space() {
		if !p.statement() {
			return false
		}
	}
	if p.known == 0 {
		p.list = nil
		p.dropped = 0
		p.add(-1, Fatal, "give a file that begins like VERSION \"\" ... BO_ 100 Name: 8 Node", "no DBC statement found")
		return false
	}
	p.resolve()
	if len(p.file.Messages) == 0 {
		p.add(-1, Warning, "", "the file describes no message")
	}
	return true
}

// statement reads one statement, whole or faulty. It reports false if a limit
// of the whole file has been reached.
func (p *parser) statement() bool {
	start := p.pos
	w := p.word()
	if len(w) == 0 {
		c := p.peek()
		p.pos++
		if c != ';' {
			p.add(start, Error, "", "unexpected %q: passed over", string(rune(c)))
			p.skip(p.pos)
		}
		return true
	}
	if !isKeyword(w) {
		p.add(start, Warning, "", "unknown statement %.40q: passed over", toUTF8(w[:min(len(w), 40)]))
		p.skip(start + len(w))
		return true
	}
	p.known++
	parse := statementOf(string(w))
	if parse == nil {
		p.skip(p.pos)
		return true
	}
	before := p.pos
	if !parse(p) {
		p.skip(before)
	}
	if len(p.messages) > p.o.MaxMessages || len(p.file.Nodes) > p.o.MaxMessages || p.signals > p.o.MaxSignals || p.details > p.o.MaxDetails {
		p.add(start, Fatal, "leave out what this gateway does not need",
			"more than %d messages (or nodes), %d signals, or %d value descriptions and other details", p.o.MaxMessages, p.o.MaxSignals, p.o.MaxDetails)
		return false
	}
	return true
}

// statementOf returns the function that reads a statement, or nil if the
// statement says nothing about frames.
func statementOf(keyword string) func(*parser) bool {
	switch keyword {
	case "VERSION":
		return (*parser).version
	case "NS_":
		return (*parser).newSymbols
	case "BS_":
		return (*parser).bitTiming
	case "BU_":
		return (*parser).nodes
	case "BO_":
		return (*parser).message
	case "SG_":
		return (*parser).signal
	case "VAL_":
		return (*parser).values
	case "VAL_TABLE_":
		return (*parser).valueTable
	case "SIG_VALTYPE_":
		return (*parser).valueType
	case "SG_MUL_VAL_":
		return (*parser).multiplexValues
	case "CM_":
		return (*parser).comment
	case "BA_":
		return (*parser).attribute
	case "BA_DEF_":
		return (*parser).attributeDefinition
	case "BA_DEF_DEF_":
		return (*parser).attributeDefault
	}
	return nil
}

// fail notes an error at the position, or at the next thing after white space,
// and returns false.
func (p *parser) fail(fix, format string, args ...any) bool {
	p.space()
	p.add(p.pos, Error, fix, format, args...)
	return false
}

// end reads the semicolon of a statement. One that is missing before the next
// statement does no harm. It is called before a statement is applied, so that
// one that is left out is left out as a whole.
func (p *parser) end(what string) bool { return p.endOf(what, "the statement is left out") }

// endOfList is end for a list whose beginning is of use by itself.
func (p *parser) endOfList(what string) bool {
	return p.endOf(what, "the rest of the list is left out")
}

func (p *parser) endOf(what, consequence string) bool {
	if p.mark(';') {
		return true
	}
	at := p.pos
	p.space()
	if p.eof() || isKeyword(p.peekWord()) {
		p.add(at, Warning, "add ';'", "%s has no semicolon", what)
		return true
	}
	return p.fail("", "%s: expected ';': %s", what, consequence)
}

// intern returns b as UTF-8 text, the same string for the same text.
func (p *parser) intern(b []byte) string {
	if s, ok := p.names[string(b)]; ok {
		return s
	}
	s := toUTF8(b)
	p.names[string(b)] = s
	return s
}

// name reads a name of any characters that are no delimiter.
func (p *parser) name(what string) (string, bool) {
	p.space()
	w := p.peekWord()
	switch {
	case len(w) == 0 || isReserved(w):
		return "", p.fail("", "%s: expected a name: it is left out", what)
	case len(w) > maxNameLen:
		return "", p.fail("", "%s: a name of %d bytes: it is left out", what, len(w))
	}
	p.pos += len(w)
	return p.intern(w), true
}

// id reads a message id: bit 31 says that it is extended.
func (p *parser) id(what string) (messageKey, bool) {
	p.space()
	w := p.peekWord()
	u, ok := parseUint(w)
	const fix = "ids are decimal numbers, plus 2147483648 if extended"
	if !ok {
		return messageKey{}, p.fail(fix, "%s: %.40q is not a message id", what, toUTF8(w[:min(len(w), 40)]))
	}
	if u > math.MaxUint32 {
		return messageKey{}, p.fail(fix, "%s: id %d has more than 32 bits", what, u)
	}
	p.pos += len(w)
	return keyOf(uint32(u)), true
}

// keyOf splits an id as files write it. An id of more than 11 bits can only be
// an extended one, whatever bit 31 says.
func keyOf(id uint32) messageKey {
	const extended = 1 << 31
	return messageKey{id &^ extended, id&extended != 0 || id > 0x7FF}
}

func (p *parser) version() bool {
	raw, ok := p.lineString()
	if !ok {
		return p.fail("", "VERSION: expected a text in quotation marks")
	}
	p.file.Version = unquote(raw)
	return true
}

// newSymbols reads the list of keywords after NS_. A keyword with anything but
// a further keyword behind it on its line is a statement already.
func (p *parser) newSymbols() bool {
	p.mark(':')
	for {
		p.space()
		start := p.pos
		w := p.word()
		if len(w) == 0 || !isKeyword(w) && w[len(w)-1] != '_' {
			p.pos = start
			return true
		}
		p.blank()
		c := p.peek()
		if !p.eof() && !isNewline(c) && !isKeyword(p.peekWord()) {
			p.pos = start
			return true
		}
	}
}

func (p *parser) bitTiming() bool {
	p.lineEnd()
	return true
}

// nodes reads the names of the nodes, on any number of lines.
func (p *parser) nodes() bool {
	if !p.mark(':') {
		return p.fail("", "BU_: expected ':'")
	}
	for {
		p.space()
		if p.mark(',') || p.mark(';') {
			continue
		}
		w := p.peekWord()
		if len(w) == 0 || isReserved(w) || len(w) > maxNameLen || len(p.file.Nodes) > p.o.MaxMessages {
			return true
		}
		p.pos += len(w)
		p.file.Nodes = append(p.file.Nodes, p.intern(w))
	}
}
