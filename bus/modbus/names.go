package modbus

import (
	"fmt"
	"strconv"
	"strings"
)

// The words of a configuration, in the order of the constants.
var (
	tableNames     = []string{"holding", "input", "coil", "discrete"}
	byteOrderNames = []string{"ABCD", "DCBA", "BADC", "CDAB"}
	typeNames      = []string{"uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64", "bool",
		"bit", "int8", "uint8", "float16", "string", "bcd16", "bcd32",
		"int24", "uint24", "int48", "uint48", "bcd8", "bcd64", "sign_magnitude16", "sign_magnitude32", "modulo10000"}
)

func name[T ~uint8](names []string, v T, what string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("%s(%d)", what, v)
}

func parse[T ~uint8](names []string, s, what string) (T, error) {
	for i, n := range names {
		if n == s {
			return T(i), nil
		}
	}
	return 0, fmt.Errorf("unknown %s %q; use one of %s", what, s, strings.Join(names, ", "))
}

// String returns the word a configuration uses.
func (t Table) String() string { return name(tableNames, t, "table") }

// String returns the word a configuration uses.
func (o ByteOrder) String() string { return name(byteOrderNames, o, "byte order") }

// String returns the word a configuration uses.
func (t Type) String() string { return name(typeNames, t, "type") }

// ParseTable reads holding, input, coil or discrete.
func ParseTable(s string) (Table, error) { return parse[Table](tableNames, s, "register table") }

// ParseByteOrder reads ABCD, DCBA, BADC or CDAB.
func ParseByteOrder(s string) (ByteOrder, error) {
	return parse[ByteOrder](byteOrderNames, s, "byte order")
}

// ParseType reads the name of a type, such as float32.
func ParseType(s string) (Type, error) { return parse[Type](typeNames, s, "type") }

// Registers is how many registers a value of the type takes: 1 to 4. That of a
// String and of a Modulo10000 depends on its length, see [Register.Width].
func (t Type) Registers() int {
	switch t {
	case Uint32, Int32, Float32, BCD32, Uint24, Int24, SignMagnitude32:
		return 2
	case Uint48, Int48:
		return 3
	case Uint64, Int64, Float64, BCD64:
		return 4
	default:
		return 1
	}
}

// Size is how many bits of its registers a value of the type has.
func (t Type) Size() int {
	switch t {
	case Int8, Uint8, BCD8:
		return 8
	case Int24, Uint24:
		return 24
	default:
		return 16 * t.Registers()
	}
}

// InByte reports whether a value of the type is one byte of a register.
func (t Type) InByte() bool { return t.Size() == 8 }

// Types are the names of all types, in the order of the documentation.
func Types() []string {
	return []string{"bool", "bit", "int8", "uint8", "int16", "uint16", "int24", "uint24", "int32", "uint32", "int48", "uint48", "int64", "uint64",
		"float16", "float32", "float64", "string", "bcd8", "bcd16", "bcd32", "bcd64", "sign_magnitude16", "sign_magnitude32", "modulo10000"}
}

// Width is how many registers the value takes; a coil or discrete input takes
// one bit.
func (r *Register) Width() int {
	switch {
	case r.Type == Modulo10000:
		return min(max(1, r.Length), 4)
	case r.Type == String && r.PerRegister:
		return max(1, r.Length)
	case r.Type == String:
		return max(1, (r.Length+1)/2)
	}
	return r.Type.Registers()
}

// Bits reports whether the table holds single bits instead of registers.
func (t Table) Bits() bool { return t == Coil || t == Discrete }

// Function is the function code that reads the table.
func (t Table) Function() byte {
	switch t {
	case Input:
		return 4
	case Coil:
		return 1
	case Discrete:
		return 2
	default:
		return 3
	}
}

// modiconDigits are the first digits of a register's number in manuals.
var modiconDigits = map[byte]Table{'0': Coil, '1': Discrete, '3': Input, '4': Holding}

// ParseModicon reads 40001 or 400001: the first digit is the table, the rest
// counts from 1.
func ParseModicon(s string) (t Table, address uint16, ok bool) {
	if len(s) != 5 && len(s) != 6 {
		return 0, 0, false
	}
	n, err := strconv.ParseUint(s[1:], 10, 32)
	t, known := modiconDigits[s[0]]
	if err != nil || !known || n < 1 || n > 1<<16 {
		return 0, 0, false
	}
	return t, uint16(n - 1), true
}
