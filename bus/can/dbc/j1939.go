package dbc

// Addresses of SAE J1939-81 with a meaning of their own.
const (
	NullAddress   = 0xFE // none; in a DBC file: any
	GlobalAddress = 0xFF // all
)

// pdu2 is the first PDU format whose messages go to all: below it, the lower
// byte of the parameter group is the destination (SAE J1939-21 5.2).
const pdu2 = 0xF0

// PGN returns the parameter group number of a 29-bit id: data page bits, PDU
// format, and the group extension of messages that go to all.
func PGN(id uint32) uint32 {
	pgn := id >> 8 & 0x3FFFF
	if pgn>>8&0xFF < pdu2 {
		pgn &^= 0xFF
	}
	return pgn
}

// Priority returns the priority of a 29-bit id, 0 (highest) to 7.
func Priority(id uint32) uint8 { return uint8(id >> 26 & 7) }

// SourceAddress returns the source address of a 29-bit id.
func SourceAddress(id uint32) uint8 { return uint8(id) }

// Destination returns the destination address of a 29-bit id; it is
// [GlobalAddress] for the parameter groups that always go to all.
func Destination(id uint32) uint8 {
	if id>>16&0xFF < pdu2 {
		return uint8(id >> 8)
	}
	return GlobalAddress
}

// J1939ID puts a 29-bit id together. The destination counts only for
// parameter groups that have one.
func J1939ID(priority uint8, pgn uint32, destination, source uint8) uint32 {
	id := uint32(priority&7)<<26 | (pgn&0x3FFFF)<<8 | uint32(source)
	if pgn>>8&0xFF < pdu2 {
		id = id&^0xFF00 | uint32(destination)<<8
	}
	return id
}
