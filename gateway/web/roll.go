package web

// rollLength is how many of the newest frames of a bus are shown.
const rollLength = 500

// rolled are frames in the order in which they came. A client that has some of
// them already leaves them out: the last line is number next-1.
type rolled struct {
	Next  uint64   `json:"next"`
	Lines []string `json:"lines"` // as candump has them: time, id#data
}

// rollFeed is the topic of the newest frames of a bus. What a busy bus sends
// within a beat beyond the newest 500 frames is left out, which the numbers show.
type rollFeed struct {
	_ [0]func() // nobody compares them: saves the code for it

	view   View
	source string
	next   uint64
}

// Full implements [Feed].
func (f *rollFeed) Full() []byte {
	r := f.since(1)
	if f.next == 0 {
		f.next = r.Next
	}
	return encode(r)
}

// Next implements [Feed].
func (f *rollFeed) Next() []byte {
	before := f.next
	r := f.since(before)
	f.next = r.Next
	if r.Next == before {
		return nil
	}
	return encode(r)
}

func (f *rollFeed) since(from uint64) rolled {
	r := rolled{Lines: []string{}}
	b, ok := f.view.Bus(f.source)
	if !ok {
		return r
	}
	r.Next = b.Lines(from, rollLength, func(line string) { r.Lines = append(r.Lines, line) })
	return r
}
