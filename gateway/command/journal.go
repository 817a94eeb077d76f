package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"strconv"
	"time"
)

// Files is where the journal is kept.
type Files interface {
	// Read returns a file. An error of a missing one wraps [fs.ErrNotExist].
	Read(name string) ([]byte, error)
	// Write replaces a file whole, or not at all, and is on disk afterwards.
	Write(name string, data []byte) error
	// Append writes data behind the first size bytes of a file, throws away what
	// else was there, and is on disk afterwards.
	Append(name string, size int64, data []byte) error
}

const (
	journalFile = "commands"
	badJournal  = "commands.bad" // a damaged one

	maxEntries  = 1000
	maxBytes    = 2 << 20   // of what is remembered
	compactFrom = 256 << 10 // bytes of a file that is worth writing again
)

// The steps of a request, and what else a line of the journal can say.
const (
	opReceived  = "received"
	opExecuting = "executing"
	opFinal     = "final"
	opArmed     = "armed"
	opDisarmed  = "disarmed"
	opPaused    = "paused"
	opResumed   = "resumed"
	opFloor     = "floor"
	opTold      = "told"
)

// key names a request. Ids are an actor's own, and actors a door's.
type key struct {
	By  Door   `json:"by,omitempty"`
	Who string `json:"who,omitempty"`
	ID  string `json:"id,omitempty"`
}

// entry is a request that was taken.
type entry struct {
	Point    string          `json:"point"`
	Source   string          `json:"source"`
	Value    json.RawMessage `json:"value"`
	Expect   json.RawMessage `json:"expect,omitempty"`
	Reason   string          `json:"reason,omitempty"`
	Signer   string          `json:"signer,omitempty"`
	Return   Return          `json:"return,omitzero"`
	Deadline time.Duration   `json:"deadline"`        // since boot; after it nothing is begun
	Until    time.Time       `json:"until,omitzero"`  // the same by the time of day; zero: the clock was not trusted
	Issued   time.Time       `json:"issued,omitzero"` // when it was this that showed how old the request was
}

// held is an entry and how far it came.
type held struct {
	key
	entry
	op    string
	reply *Reply        // of a final one
	at    time.Duration // arrival, since boot
	keep  time.Duration // since boot: until then it is remembered
	ended time.Duration // since boot: when op was noted
	boot  uint64        // in which boot that was
	told  bool          // its account outlives the process
	waits []func(Reply) // who wants the final reply
	other bool          // of an earlier boot: its times since boot say nothing
}

// armed is a fallback that is due unless somebody renews the value.
type armed struct {
	_ [0]func() // nobody compares them: saves the code for it

	Point string        `json:"point"`
	Value string        `json:"value"` // the fallback
	After time.Duration `json:"after"`
	Due   time.Duration `json:"due"` // since boot
	Boot  uint64        `json:"boot"`
	Until time.Time     `json:"until,omitzero"` // the same by the time of day; zero: the clock was not trusted
	// Permit is that of the point it was armed under: another one is another point.
	Permit string `json:"permit,omitempty"`
}

// line is a line of the journal.
type line struct {
	_ [0]func() // nobody compares them: saves the code for it

	Op   string        `json:"op"`
	Boot uint64        `json:"boot,omitempty"`
	T    time.Duration `json:"t,omitempty"` // since boot
	key
	*entry
	Armed *armed    `json:"armed,omitempty"`
	Reply *Reply    `json:"reply,omitempty"`
	Time  time.Time `json:"time,omitzero"`
	Told  bool      `json:"told,omitempty"`
	// Through is of opTold: what was final by then is told.
	Through time.Duration `json:"through,omitempty"`
}

// journal is what is remembered, and the file it is in. It is not safe for
// concurrent use.
type journal struct {
	files  Files
	boot   uint64
	life   time.Duration // how long an entry that is over is kept
	held   map[key]*held
	order  []*held // by arrival
	armed  map[string]*armed
	paused *pause
	low    time.Time // see Engine.fresh

	size   int64 // of the file, in bytes
	bytes  int   // of held, about
	broken bool  // what is on disk is not known: it has to be written again, whole
}

// pause is who has stopped all commands, and when.
type pause struct {
	_ [0]func() // nobody compares them: saves the code for it

	Actor
	At time.Time
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// openJournal reads what an earlier process has left. bad says why a journal
// was put aside.
func openJournal(files Files, boot uint64, now, life time.Duration) (j *journal, bad error) {
	j = &journal{files: files, boot: boot, life: life, held: map[key]*held{}, armed: map[string]*armed{}, broken: true}
	text, err := files.Read(journalFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return j, err
	}
	rest := text
	for len(rest) > 0 {
		l, length, err := readLine(rest)
		if err != nil {
			// The last line may be torn by the end of the process: it was never
			// told to anybody. A damage in the middle is another thing.
			if bytes.IndexByte(rest, '\n') < len(rest)-1 && bytes.IndexByte(rest, '\n') >= 0 {
				bad = fmt.Errorf("it is damaged at byte %d: %w", len(text)-len(rest), err)
				_ = files.Write(badJournal, text)
			}
			break
		}
		j.apply(l, now)
		rest = rest[length:]
	}
	j.forget(now)
	return j, bad
}

func readLine(text []byte) (*line, int, error) {
	end := bytes.IndexByte(text, '\n')
	if end < 9 {
		return nil, 0, errors.New("a line is cut off")
	}
	sum, err := strconv.ParseUint(string(text[:8]), 16, 32)
	if err != nil || uint32(sum) != crc32.Checksum(text[9:end], castagnoli) {
		return nil, 0, errors.New("its checksum is wrong")
	}
	l := &line{entry: &entry{}}
	if err := json.Unmarshal(text[9:end], l); err != nil {
		return nil, 0, err
	}
	return l, end + 1, nil
}

func appendLine(dst []byte, l *line) []byte {
	body, err := json.Marshal(l)
	if err != nil { // only values that were JSON before
		panic("command: a line of the journal cannot be JSON: " + err.Error())
	}
	dst = fmt.Appendf(dst, "%08x ", crc32.Checksum(body, castagnoli))
	return append(append(dst, body...), '\n')
}

// note puts lines on disk and then takes account of them.
func (j *journal) note(now time.Duration, lines ...*line) error {
	var text []byte
	for _, l := range lines {
		l.Boot, l.T = j.boot, now
		text = appendLine(text, l)
	}
	if j.broken || j.size > compactFrom && j.size > 4*int64(j.bytes) {
		if err := j.rewrite(now); err != nil {
			return err
		}
	}
	if err := j.files.Append(journalFile, j.size, text); err != nil {
		j.broken = true
		return err
	}
	j.size += int64(len(text))
	for _, l := range lines {
		j.apply(l, now)
	}
	return nil
}

// rewrite writes all that is still of use into a new file.
func (j *journal) rewrite(now time.Duration) error {
	j.forget(now)
	var text []byte
	add := func(l *line) { text = appendLine(text, l) }
	if !j.low.IsZero() {
		add(&line{Op: opFloor, Time: j.low})
	}
	if p := j.paused; p != nil {
		add(&line{Op: opPaused, key: key{By: p.By, Who: p.Who}, Time: p.At})
	}
	for _, a := range j.armed {
		add(&line{Op: opArmed, Armed: a})
	}
	for _, h := range j.order {
		boot := j.boot
		if h.other {
			boot = 0
		}
		add(&line{Op: opReceived, Boot: boot, T: h.at, key: h.key, entry: &h.entry})
		if h.op != opReceived {
			add(&line{Op: h.op, Boot: h.boot, T: h.ended, key: h.key, Reply: h.reply, Told: h.told})
		}
	}
	if err := j.files.Write(journalFile, text); err != nil {
		j.broken = true
		return err
	}
	j.broken, j.size = false, int64(len(text))
	return nil
}

// apply takes account of a line that is on disk.
func (j *journal) apply(l *line, now time.Duration) {
	h := j.held[l.key]
	switch l.Op {
	case opReceived:
		h = &held{key: l.key, entry: *l.entry, op: opReceived, at: l.T, other: l.Boot != j.boot}
		h.keep = j.until(h, now)
		j.held[l.key], j.order = h, append(j.order, h)
		j.bytes += h.weight()
	case opExecuting, opFinal:
		if h == nil {
			return
		}
		j.bytes -= h.weight()
		h.op, h.ended, h.boot, h.told = l.Op, l.T, l.Boot, l.Told
		if l.Reply != nil {
			h.reply = l.Reply
		}
		j.bytes += h.weight()
		if l.Armed != nil {
			j.armed[l.Armed.Point] = l.Armed
		}
		h.keep = j.until(h, now)
	case opArmed:
		j.armed[l.Armed.Point] = l.Armed
	case opDisarmed:
		delete(j.armed, l.Armed.Point)
	case opPaused:
		j.paused = &pause{Actor: Actor{Who: l.Who, By: l.By}, At: l.Time}
	case opResumed:
		j.paused = nil
	case opFloor:
		j.low = l.Time
	case opTold:
		for _, h := range j.order {
			h.told = h.told || h.final(l.Boot, l.Through)
		}
	}
}

// final reports whether it was by a time of a boot. All of another boot is from
// before it.
func (h *held) final(boot uint64, by time.Duration) bool {
	return h.op == opFinal && (h.boot != boot || h.ended <= by)
}

// untold reports whether something was final by then and is not noted as told.
func (j *journal) untold(then time.Duration) bool {
	return slices.ContainsFunc(j.order, func(h *held) bool { return !h.told && h.final(j.boot, then) })
}

// until is how long an entry is remembered: as long as the same request could
// be taken for a new one, and then for some time, for who asks again.
func (j *journal) until(h *held, now time.Duration) time.Duration {
	last := now
	if !h.other {
		last = max(now, h.Deadline)
	}
	return last + j.life + 2*skew
}

// weight is about how many bytes it takes.
func (h *held) weight() int {
	n := 400 + 2*len(h.Value) + len(h.Expect) + len(h.Reason) + len(h.Return.Topic) + len(h.Return.Correlation) + len(h.Who)
	if h.reply != nil {
		n += len(h.reply.Read) + len(h.reply.Old) + len(h.reply.Message)
	}
	return n
}

// forget drops what is over and too old to be asked for again. Until the file is
// written again the entries stay in it, so that low need not be.
func (j *journal) forget(now time.Duration) {
	kept := j.order[:0]
	for _, h := range j.order {
		if h.op != opFinal || h.keep > now {
			kept = append(kept, h)
			continue
		}
		if h.Issued.After(j.low) {
			j.low = h.Issued
		}
		j.bytes -= h.weight()
		delete(j.held, h.key)
	}
	clear(j.order[len(kept):])
	j.order = kept
}

// room reports whether another request can be remembered.
func (j *journal) room(now time.Duration) bool {
	if len(j.order) < maxEntries && j.bytes < maxBytes {
		return true
	}
	j.forget(now)
	return len(j.order) < maxEntries && j.bytes < maxBytes
}
