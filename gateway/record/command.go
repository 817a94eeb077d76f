package record

// Command is the account of one command: what somebody asked of a bus, and what
// became of it.
type Command struct {
	_ [0]func() // nobody compares them: saves the code for it

	By, Who   string // the door (mqtt, web, cli, fallback) and the actor it vouches for
	ID, Point string
	Value     string // JSON; empty: there was none
	Old, Read string // JSON: what was there, and is; empty: it was not read
	State     string
	Code      string
	Reason    string // the actor's own words
	Signer    string // empty: it was not signed
	Exception uint64 // of the device; 0: none
	TookMS    uint64 // from the arrival to the end
	More      uint64 // refusals before it that have no record
	Again     bool   // a kill may have cost the record before this one
}

func (c *Command) texts() []*string {
	return []*string{&c.By, &c.Who, &c.ID, &c.Point, &c.Value, &c.Old, &c.Read, &c.State, &c.Code, &c.Reason, &c.Signer}
}

func (c *Command) numbers() []*uint64 { return []*uint64{&c.Exception, &c.TookMS, &c.More} }

// AppendCommand appends the body of a command record: each text, then each
// number, in the order of [Command].
func AppendCommand(dst []byte, c *Command) []byte {
	dst = append(dst, byte(TypeCommand))
	for _, s := range c.texts() {
		dst = appendText(dst, *s)
	}
	for _, n := range c.numbers() {
		dst = appendUint(dst, *n)
	}
	if c.Again { // earlier versions do not know it
		dst = appendUint(dst, 1)
	}
	return dst
}

// ParseCommand is the inverse of [AppendCommand].
func ParseCommand(body []byte) (c Command, err error) {
	r := reader{rest: body[1:]}
	for _, s := range c.texts() {
		*s = r.text()
	}
	for _, n := range c.numbers() {
		*n = r.uint()
	}
	c.Again = len(r.rest) > 0
	return c, r.err
}
