package payload

// AppendHealth appends the body of a health record: what a source, or the
// gateway itself, says of how it fares. Members are those of a JSON object,
// without its braces.
func AppendHealth(dst, members []byte) []byte {
	return append(append(dst, typeHealth), members...)
}
