package dbc

import (
	"bytes"
	"testing"
)

// What a point does not name is sent with the start values of the file: signed,
// big-endian and multiplexed ones too.
func TestStartData(t *testing.T) {
	m := &Message{Size: 8, Signals: []Signal{
		{Name: "Mode", Start: 0, Length: 4, HasInitial: true, Initial: 2, Multiplexes: true},
		{Name: "Below", Start: 8, Length: 8, Signed: true, HasInitial: true, Initial: -3},
		{Name: "Big", Start: 23, Length: 16, BigEndian: true, HasInitial: true, Initial: 0x1234},
		{Name: "None", Start: 32, Length: 8},
		{Name: "Two", Start: 40, Length: 8, HasInitial: true, Initial: 7},
		{Name: "Three", Start: 48, Length: 8, HasInitial: true, Initial: 9},
	}}
	m.Signals[4].Multiplexer, m.Signals[4].When = &m.Signals[0], []Range{{2, 2}}
	m.Signals[5].Multiplexer, m.Signals[5].When = &m.Signals[0], []Range{{3, 3}}
	if got, want := m.Start(), []byte{2, 0xFD, 0x12, 0x34, 0, 7, 0, 0}; !bytes.Equal(got, want) {
		t.Errorf("% X, want % X", got, want)
	}
}
