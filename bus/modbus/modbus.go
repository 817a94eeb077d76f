// Package modbus polls the devices of one Modbus line: a half-duplex RS-485
// or RS-232 line in RTU framing (Modbus over Serial Line V1.02).
//
// # Nouns
//
// A [Line] is one serial port and the devices on it; it has one owner and one
// request at a time. A [Device] is a unit id with [Register]s. What is due
// together is merged into requests by the [Plan]. What a poll of a device
// yields is a [Reading].
//
// # Caveats
//
// The package only reads. A value is never repeated as if it were fresh: a
// register that could not be read is in the reading's failures.
package modbus

import (
	"time"

	"fieldferry/bus"
	"fieldferry/bus/modbus/rtu"
)

// Table is one of the four address spaces of a Modbus device.
type Table uint8

// The tables, by the function code that reads them.
const (
	Holding  Table = iota // holding registers, function 3
	Input                 // input registers, function 4
	Coil                  // coils, function 1
	Discrete              // discrete inputs, function 2
)

// ByteOrder is the order in which the bytes of a value stand in its
// registers. A is the most significant byte; each pair is one register.
type ByteOrder uint8

// The byte orders. On 64-bit values CDAB reverses the words, BADC swaps the
// bytes within each word, DCBA does both. A 16-bit value swaps under BADC and DCBA.
const (
	ABCD ByteOrder = iota
	DCBA
	BADC
	CDAB
)

// Type is how the registers of a value are read.
type Type uint8

// The types of a [Register].
const (
	Uint16 Type = iota
	Int16
	Uint32
	Int32
	Uint64
	Int64
	Float32
	Float64
	Bool    // a coil or discrete input; of a register: not zero
	Bit     // one bit of a register: Register.BitLow
	Int8    // one byte of a register: Register.HighByte
	Uint8   // likewise
	Float16 // IEEE 754 half precision
	String  // Register.Length characters, two in a register
	BCD16   // four decimal digits
	BCD32   // eight decimal digits
	Int24   // of two registers, the lowest 24 bits
	Uint24  // likewise
	Int48   // of three registers
	Uint48  // likewise
	BCD8    // two decimal digits in one byte of a register: Register.HighByte
	BCD64   // sixteen decimal digits
	SignMagnitude16
	SignMagnitude32 // the highest bit is the sign, the others are the amount
	Modulo10000     // Register.Length registers, each four decimal digits, signed
)

// LineConfig says which line to poll, how it is set, and what is on it.
type LineConfig struct {
	Name       string        // source name
	Port       string        // path of the serial device
	BaudRate   int           // any rate the hardware can do
	DataBits   int           // 8 for RTU
	Parity     byte          // 'N', 'E' or 'O'
	StopBits   int           // 1 or 2
	Timeout    time.Duration // from the end of a request to the end of its reply
	Retries    int           // further tries after a failed request
	Turnaround time.Duration // silence before each request beyond t3.5
	RS485      RS485
	Devices    []Device

	// Of a network connection.
	ConnectDelay time.Duration // before the first request on each
	// AnyReplyUnit and AnyTransactionID let replies of Modbus TCP pass that
	// name another unit or transaction than the request; see [tcp.Options].
	AnyReplyUnit, AnyTransactionID bool
}

// RS485 is the direction control of a half-duplex line.
type RS485 = rtu.RS485

// Device is one unit on a line.
type Device struct {
	Name         string
	UnitID       uint8         // 1 to 247; 248 to 255 are reserved; 0 on Modbus TCP
	MaxGap       int           // unused registers or bits a merged read may cross
	MaxRegisters int           // registers in one request, 1 to 125
	Timeout      time.Duration // of its own; 0 means the line's
	Registers    []Register
}

// Register is one named value of a device.
type Register struct {
	Name      string
	Table     Table
	Address   uint16 // 0-based, as on the wire
	Base      int    // what the configuration counts from, such as 1 or 40001, to name the register as it does
	Type      Type
	ByteOrder ByteOrder
	Scale     float64 // published = raw*Scale + Offset; 0 means 1
	Offset    float64
	Unit      string // physical unit, for people
	Interval  time.Duration
	OnChange  bool // publish only when the value differs from the last one published

	Length      int  // String: characters; a register holds two; Modulo10000: registers
	HighByte    bool // Int8, Uint8, BCD8: the high byte of the register; String with PerRegister likewise
	PerRegister bool // String: one character in each register
	// BitLow and BitCount pick a field of a Bit or an unsigned value, 0 being
	// the least significant bit; BitCount 0 means the whole value.
	BitLow, BitCount int
	Invalid          Invalid
	// ScaleRegister is the address in the same table of a power of ten, int16,
	// that the value is multiplied by, as SunSpec has it; -1 or 0 with
	// HasScaleRegister false means none.
	ScaleRegister    uint16
	HasScaleRegister bool
	Enum             map[int64]string // labels of values
	Flags            map[int]string   // labels of bits
	Limit            Limit
}

// Invalid are the raw values by which a device says that it has none.
type Invalid struct {
	NaN    bool
	Bits   []uint64  // raw integers or bit patterns, as wide as the type
	Floats []float64 // values before scaling
}

// Limit holds back values that say little new. Failures and the first value
// after one always go out.
type Limit struct {
	Deadband    float64       // a change of no more than this is none
	Percent     bool          // Deadband is in percent of the value published last
	MinInterval time.Duration // at least so long between two values
	MaxInterval time.Duration // after so long a value goes out although it did not change
}

// Value is a value read from one register. Kind tells which field counts.
type Value struct {
	Name  string
	Kind  Kind
	Uint  uint64  // KindUint; KindBool: 0 or 1
	Int   int64   // KindInt
	Float float64 // KindFloat
	Text  string  // KindText
	// Label is the word for the value, empty if it has none. Flags are the
	// words for its bits that are set; nil means that the value has no flags.
	Label string
	Flags []string
}

// Kind is the sort of a [Value].
type Kind uint8

// The kinds of a [Value].
const (
	KindUint Kind = iota
	KindInt
	KindFloat
	KindBool
	KindText
)

// Failure is a register that could not be read, and why.
type Failure struct {
	_ [0]func() // nobody compares them: saves the code for it

	Name string
	Err  string // "timeout", "exception 2: illegal data address", ...
}

// Reading is what one poll of one device yielded.
type Reading struct {
	Time     time.Time // when the reply to the (last) request was complete
	Device   string
	Answered bool // by the device, if only to refuse
	Whole    bool // every register of the device could be read when it was last asked for
	Values   []Value
	Failures []Failure
}

// Handler takes what a line delivers. All calls come from one goroutine and
// must not block: the line waits meanwhile.
type Handler interface {
	// Reading takes one device's poll. It is valid only during the call.
	Reading(*Reading)
	// Event takes a condition of the line or of a device on it.
	Event(bus.Event)
}

// Observer is a [Handler] that also wants to see what is not worth publishing:
// values that a limit holds back. Observe is called before Reading, under the
// same rules.
type Observer interface{ Observe(*Reading) }
