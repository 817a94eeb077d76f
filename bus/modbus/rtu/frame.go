package rtu

import "encoding/binary"

// requestLen is the length of every read request and single write.
const requestLen = 8

var crcTable = makeCRCTable()

func makeCRCTable() (table [256]uint16) {
	for i := range table {
		crc := uint16(i)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
		table[i] = crc
	}
	return table
}

// CRC is the checksum of a frame's bytes before the checksum itself
// (Serial Line V1.02, 2.5.1.2).
func CRC(p []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, b := range p {
		crc = crc>>8 ^ crcTable[byte(crc)^b]
	}
	return crc
}

// AppendCRC appends the checksum of p to p, low byte first as on the wire.
func AppendCRC(p []byte) []byte {
	return binary.LittleEndian.AppendUint16(p, CRC(p))
}

// ValidCRC reports whether the last two bytes of frame are its checksum.
func ValidCRC(frame []byte) bool {
	n := len(frame)
	return n >= 4 && CRC(frame[:n-2]) == binary.LittleEndian.Uint16(frame[n-2:])
}

// isException reports whether frame, a whole reply, is a refusal.
func isException(frame []byte) bool { return frame[1]&exceptionBit != 0 }

// AppendReadRequest appends the request that reads count registers or bits
// from address, with its CRC.
func AppendReadRequest(p []byte, unit, function byte, address, count uint16) []byte {
	start := len(p)
	p = append(p, unit, function)
	p = binary.BigEndian.AppendUint16(p, address)
	p = binary.BigEndian.AppendUint16(p, count)
	return binary.LittleEndian.AppendUint16(p, CRC(p[start:]))
}

// ByteCount is the byte count in the reply to a read of count registers or
// bits; -1 for a function whose replies carry none.
func ByteCount(function byte, count int) int {
	switch function {
	case ReadCoils, ReadDiscreteInputs:
		return (count + 7) / 8
	case ReadHoldingRegisters, ReadInputRegisters:
		return 2 * count
	default:
		return -1
	}
}

// ReplyLen is the length of the reply to a read of count registers or bits,
// or to a write.
func ReplyLen(function byte, count int) int {
	if n := ByteCount(function, count); n >= 0 {
		return 5 + n
	}
	return requestLen
}
