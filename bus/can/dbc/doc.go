// Package dbc reads DBC files, the description of what CAN frames mean, and
// decodes frames by them.
//
// # Nouns
//
// A [File] is one parsed DBC file; what is wrong with it is a list of
// [Diagnostic]. A [Message] describes the frames of one id, a [Signal] some
// bits in them. A [Database] joins the files of one bus and finds the message
// of a frame. A [Value] is what a signal says in one frame. A [Transport]
// joins the packets of long J1939 messages, and a [Decoder] turns candump logs
// into JSON Lines.
//
// # How it reads
//
// Files from the field break the format in many ways. [Parse] therefore
// leaves out a faulty statement, says so with its line and column, and reads
// on; only what is no DBC file at all, or exceeds a limit, is fatal. Text is
// taken as UTF-8, and byte by byte as Windows-1252 where it is not: what comes
// out is valid UTF-8.
//
// # How it decodes
//
// Each message is compiled once into a flat plan; decoding a frame looks
// nothing up by name and allocates nothing. Bits are exact from 1 to 64.
// Factor and offset are applied to them as the decimal numbers the file has,
// not as binary fractions: 2301 times 0.1 is 230.1, and integers are exact to
// 64 bits. Values outside the limits a file gives are not changed, see
// [Value.OutOfRange]; those that J1939 reserves are no numbers, see
// [Value.Missing].
//
// # Caveats
//
// Signals of more than 64 bits (texts) are not decoded. Start values and
// comments are kept for the reader, not used. A Database takes over the messages
// of its files. All of them are read-only after it was made, except by
// [Message.KeepReserved], and may be used concurrently; a Transport and a
// Decoder belong to one goroutine.
package dbc
