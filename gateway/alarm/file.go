package alarm

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"sort"
	"time"
)

// The file is one line with a magic word, a version and the CRC-32 (IEEE) of
// the rest, which is a JSON list of alarms. It is written anew when the list
// has changed, never in place.
const (
	fileName = "alarms"
	header   = "fieldferry-alarms 1 %08x\n"
	maxID    = 1 << 53 // every reader of JSON takes it exactly
	badEnd   = ".bad"
)

// How often it is written: a change of a small list once a second at most, and
// no more than 16 KiB a second of a large one. Flash is not there for flapping.
const (
	writePause = time.Second
	writeRate  = 16 << 10
	retryPause = 5 * time.Second
)

// file is what is known of the file of a set.
type file struct {
	keep    time.Duration // for this long a cleared alarm stays in it
	due     time.Duration // when it has to be written; 0: need not
	next    time.Duration // not before
	gone    []goneAlarm
	writing chan struct{} // closed when the write under way has ended
	failed  bool
}

type goneAlarm struct {
	Alarm
	at time.Duration
}

// dirty notes that it no longer says what is raised. A clearing has time.
func (f *file) dirty(now time.Duration, soon bool) {
	if !soon {
		now += f.keep
	}
	if f.due == 0 || now < f.due {
		f.due = now
	}
}

// cleared keeps a cleared alarm in the file until the note of it is on disk:
// a crash before that must not make the consumer wait for it for ever.
func (f *file) cleared(a Alarm, now time.Duration) {
	f.gone = append(f.gone, goneAlarm{a, now})
}

// save begins to write the file if that is due, and says when it will be; 0:
// it is not, or a write is under way.
func (s *Set) save(now time.Duration) time.Duration {
	f := &s.file
	if f.due == 0 || f.writing != nil || s.next == 0 || s.cfg.Files == nil {
		return 0
	}
	if at := max(f.due, f.next); at > now {
		return at
	}
	list := s.alarms(false)
	for len(f.gone) > 0 && now-f.gone[0].at >= f.keep {
		f.gone = f.gone[1:]
	}
	for _, g := range f.gone {
		list = append(list, g.Alarm)
	}
	if f.due = 0; len(f.gone) > 0 {
		f.due = f.gone[0].at + f.keep
	}
	f.writing = make(chan struct{})
	go s.write(s.cfg.Files, list)
	return 0
}

// write writes the file, beside everything else: the disk may stall.
func (s *Set) write(files Files, list []Alarm) {
	b, err := encode(list)
	if err == nil {
		err = files.Write(fileName, b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.file
	now := s.now()
	f.next = now + max(writePause, time.Duration(len(b))*time.Second/writeRate)
	if err != nil {
		if !f.failed {
			s.log.Error("the list of raised alarms cannot be stored; after a restart some may be raised again under new ids", "error", err)
		}
		f.due, f.next = now, now+retryPause
	}
	f.failed = err != nil
	close(f.writing)
	f.writing = nil
	s.wake()
}

// Files keep what outlives the process. A file is replaced whole or not at all,
// and is on disk when Write has returned; an error of Read for a missing one wraps
// [fs.ErrNotExist].
type Files interface {
	Read(name string) ([]byte, error)
	Write(name string, data []byte) error
}

// encode is the content of the file.
func encode(list []Alarm) ([]byte, error) {
	for i := range list { // the table has these
		list[i].Severity, list[i].Title, list[i].Flapping, list[i].Unseen, list[i].Detail = "", "", false, false, nil
	}
	body, err := json.Marshal(list)
	if err != nil {
		return nil, err
	}
	return append(fmt.Appendf(nil, header, crc32.ChecksumIEEE(body)), body...), nil
}

// readFile returns the list, or nothing if there is none. A copy of what is not
// such a file, or of a damaged one, is put aside.
func readFile(files Files) ([]Alarm, error) {
	if files == nil {
		return nil, nil
	}
	b, err := files.Read(fileName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	list, err := parse(b)
	if err != nil {
		return nil, errors.Join(err, files.Write(fileName+badEnd, b))
	}
	return list, nil
}

var errForm = errors.New("it is damaged, or no list of alarms of this version")

// parse takes the content of a file apart. The ids come falling.
func parse(b []byte) ([]Alarm, error) {
	n := len(fmt.Sprintf(header, 0))
	if len(b) < n || string(b[:n]) != fmt.Sprintf(header, crc32.ChecksumIEEE(b[n:])) {
		return nil, errForm
	}
	var list []Alarm
	if json.Unmarshal(b[n:], &list) != nil {
		return nil, errForm
	}
	for i := range list {
		if id := list[i].ID; id == 0 || id > maxID {
			return nil, errForm
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].ID > list[j].ID })
	return list, nil
}
