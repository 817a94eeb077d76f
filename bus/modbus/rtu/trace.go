package rtu

// Traced returns p with everything that passes through it shown to note, as it
// is written and as it comes: a reply may come in several parts. The bytes are
// note's during the call only.
func Traced(p Port, note func(sent bool, b []byte)) Port { return &traced{p, note} }

type traced struct {
	Port
	note func(sent bool, b []byte)
}

func (t *traced) Write(b []byte) (int, error) {
	n, err := t.Port.Write(b)
	if n > 0 {
		t.note(true, b[:n])
	}
	return n, err
}

func (t *traced) Read(b []byte) (int, error) {
	n, err := t.Port.Read(b)
	if n > 0 {
		t.note(false, b[:n])
	}
	return n, err
}

func (t *traced) ReadAvailable(b []byte) (int, error) {
	n, err := t.Port.ReadAvailable(b)
	if n > 0 {
		t.note(false, b[:n])
	}
	return n, err
}
