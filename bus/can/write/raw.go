package write

import (
	"encoding/hex"
	"fmt"
	"strings"

	"fieldferry/bus/scalar"
)

// Codec makes the data of a frame of a value, the text of a JSON value.
type Codec interface {
	Check(value string) error
	Encode(value string) ([]byte, error)
	Within(data []byte) error
}

// Raw is data as a string of hexadecimal digits, two for each byte: "DEADBEEF".
type Raw struct {
	length     int
	base, mask []byte
}

// NewRaw makes a codec for data of a length. mask has the bits that a value may
// choose, and base what all others are; without a mask they are all a value's.
func NewRaw(length int, base, mask []byte) (*Raw, error) {
	switch {
	case mask == nil && base == nil:
	case len(mask) != length || base != nil && len(base) != length:
		return nil, fmt.Errorf("mask and base have %d and %d bytes, and the frame %d", len(mask), len(base), length)
	}
	r := &Raw{length: length, base: make([]byte, length), mask: mask}
	copy(r.base, base)
	return r, nil
}

// Check says why a value cannot be sent, in a *[scalar.Refusal].
func (r *Raw) Check(value string) error {
	_, err := r.Encode(value)
	return err
}

// Encode makes the data of a value.
func (r *Raw) Encode(value string) ([]byte, error) {
	v, err := scalar.Parse(value)
	if err != nil {
		return nil, err
	}
	data, err := hex.DecodeString(strings.ReplaceAll(v.Text, " ", ""))
	if v.Kind != scalar.Text || err != nil || len(data) != r.length {
		return nil, scalar.Refuse(scalar.CodeType, "not a string of %d bytes in hexadecimal digits", r.length)
	}
	if err := r.Within(data); err != nil {
		return nil, scalar.Refuse(scalar.CodeRange, "%v", err)
	}
	return data, nil
}

// Within says why data is not what the mask lets a value choose.
func (r *Raw) Within(data []byte) error {
	if len(data) != r.length {
		return fmt.Errorf("%d bytes of data in place of %d", len(data), r.length)
	}
	for i := range r.mask {
		if data[i]&^r.mask[i] != r.base[i]&^r.mask[i] {
			return fmt.Errorf("byte %d differs in bits that the mask does not have", i)
		}
	}
	return nil
}
