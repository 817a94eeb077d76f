package dbc

import "math"

// Start is the data of the message when each of its signals has its start value
// (GenSigStartValue), or 0. Of signals that depend on a multiplexer only those
// have theirs that exist under the multiplexer's.
func (m *Message) Start() []byte {
	data := make([]byte, m.Size)
	put := func(s *Signal) {
		if s.HasInitial && s.lastBit() < 8*len(data) {
			s.put(data, s.initialRaw())
		}
	}
	for i := range m.Signals {
		if m.Signals[i].Multiplexer == nil {
			put(&m.Signals[i])
		}
	}
	for i := range m.Signals {
		s := &m.Signals[i]
		if s.Multiplexer != nil && inRanges(s.When, s.Multiplexer.get(data)) {
			put(s)
		}
	}
	return data
}

// initialRaw is the start value as its bits stand in a frame.
func (s *Signal) initialRaw() uint64 {
	switch {
	case s.Type == Float32:
		return uint64(math.Float32bits(float32(s.Initial)))
	case s.Type == Float64:
		return math.Float64bits(s.Initial)
	case s.Initial < 0:
		return uint64(int64(s.Initial)) & (1<<s.Length - 1)
	}
	return uint64(s.Initial) & (1<<s.Length - 1)
}
