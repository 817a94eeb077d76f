package dbc

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

// File is a parsed DBC file.
type File struct {
	Name     string // as given to [Parse]
	Version  string // of VERSION
	Comment  string // the first CM_ about the network
	Protocol string // the attribute ProtocolType: "J1939", often empty
	Nodes    []string
	Messages []*Message // in the order of the file
}

// Message describes the frames of one arbitration id.
type Message struct {
	Name      string // the long name, where the file has one
	Symbol    string // the name in the BO_ statement
	ID        uint32 // 11 or 29 bits
	Extended  bool
	J1939     bool // by VFrameFormat or ProtocolType: ID's priority and source address are those of one sender
	Size      int  // bytes
	Sender    string
	Comment   string
	CycleTime time.Duration // of GenMsgCycleTime; 0 if none
	Signals   []Signal      // in the order of the file

	fd     bool   // by VFrameFormat: it comes whole
	file   string // for the naming of conflicts
	line   int
	quoted string // Name as JSON
	plan   plan
}

// Type is how the bits of a signal are read.
type Type uint8

// The types of a signal.
const (
	Integer Type = iota // unsigned or two's complement
	Float32             // IEEE 754 binary32
	Float64             // IEEE 754 binary64
)

// Signal describes some bits of a message.
type Signal struct {
	Name      string // the long name, where the file has one
	Symbol    string // the name in the SG_ statement
	Unit      string
	Comment   string
	Start     int // bit, as the file counts: byte*8 + bit, the most significant bit if BigEndian
	Length    int // bits, 1 to 64
	BigEndian bool
	Signed    bool
	Type      Type
	Factor    float64
	Offset    float64
	Min, Max  float64 // physical, see Limits
	Labels    []Label // of VAL_, sorted by Raw
	Receivers []string
	// Initial is the raw start value of GenSigStartValue, if HasInitial.
	Initial    float64
	HasInitial bool
	// Multiplexes: other signals exist only under certain values of this one.
	Multiplexes bool
	// Multiplexer is the signal this one depends on, or nil: it exists only
	// in frames where the multiplexer's raw value is in one of the ranges When.
	Multiplexer *Signal
	When        []Range

	key      string // `"Name":`
	decimals uint8  // of a KindDecimal value
	doubtful bool   // an integer may be outside of the limits or reserved
	reserved bool   // the highest raw values are no measurement, see Value.Missing
	measured bool   // all raw values are, whatever J1939 says
	bounds   bounds
}

// Range is a range of raw values, both ends included.
type Range struct{ First, Last uint64 }

// Label is the name of one raw value of a signal.
type Label struct {
	Raw    uint64 // the signal's bits, not sign-extended
	Text   string
	quoted string // Text as JSON
}

// Options limit what [Parse] accepts. The zero value means the defaults, with
// which a hostile file fits the memory of a small board.
type Options struct {
	MaxSize        int // bytes; default 8 MiB
	MaxMessages    int // default 16,384
	MaxSignals     int // in the file; default 32,768. Of one message, at most 16,384 count
	MaxDetails     int // value descriptions (for each signal that has them), ranges, comments, attributes, receivers; default 262,144
	MaxDiagnostics int // more are only counted; default 1,000
}

// DefaultMaxSize is how many bytes a file may have if [Options] do not say it.
const DefaultMaxSize = 8 << 20

const (
	maxMessageSignals = 16384
	maxMultiplexers   = 64   // of one message
	maxNameLen        = 1024 // bytes
	maxMessageSize    = 1785 // bytes: the longest J1939 transport message
	maxReceivers      = 256  // of one signal
	maxCommentText    = 2 << 20
)

func (o Options) withDefaults() Options {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&o.MaxSize, DefaultMaxSize)
	set(&o.MaxMessages, 1<<14)
	set(&o.MaxSignals, 1<<15)
	set(&o.MaxDetails, 1<<18)
	set(&o.MaxDiagnostics, 1000)
	return o
}

// ParseFile reads and parses the file at path. The error is that of reading;
// what is wrong with the content is in the diagnostics, as of [Parse]. No more
// than the largest size allowed is read.
func ParseFile(path string, o Options) (*File, []Diagnostic, error) {
	// O_NONBLOCK: opening a pipe nobody writes to would wait for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("dbc: %w", err)
	}
	defer f.Close()
	limit := int64(o.withDefaults().MaxSize) + 1
	var data bytes.Buffer
	if info, err := f.Stat(); err == nil { // ReadAll would copy it again and again
		data.Grow(int(min(info.Size(), limit)) + bytes.MinRead)
	}
	if _, err := data.ReadFrom(io.LimitReader(f, limit)); err != nil {
		return nil, nil, fmt.Errorf("dbc: %w", err)
	}
	file, diagnostics := Parse(path, data.Bytes(), o)
	return file, diagnostics, nil
}
