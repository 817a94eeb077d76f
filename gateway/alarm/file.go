package alarm

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"sort"
	"time"

	"fieldferry/buffer/beneath"
)

// The file is one line with a magic word, a version and the CRC-32 (IEEE) of
// the rest, which is a JSON list of alarms. It is written anew when the list
// has changed, never in place.
const (
	header  = "fieldferry-alarms 1 %08x\n"
	maxFile = 4 << 20
	maxID   = 1 << 53 // every reader of JSON takes it exactly
	badEnd  = ".bad"
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
	if f.due == 0 || f.writing != nil || s.next == 0 || s.cfg.Path == "" {
		return 0
	}
	if at := max(f.due, f.next); at > now {
		return at
	}
	list := s.alarms()
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
	go s.write(s.cfg.Path, list)
	return 0
}

// write writes the file, beside everything else: the disk may stall.
func (s *Set) write(path string, list []Alarm) {
	n, err := writeFile(path, list)
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.file
	now := s.now()
	f.next = now + max(writePause, time.Duration(n)*time.Second/writeRate)
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

// writeFile puts list in the place of the file and returns its size.
func writeFile(path string, list []Alarm) (int, error) {
	for i := range list { // the table has these
		list[i].Severity, list[i].Title, list[i].Flapping, list[i].Unseen = "", "", false, false
	}
	body, err := json.Marshal(list)
	if err != nil {
		return 0, err
	}
	body = append(fmt.Appendf(nil, header, crc32.ChecksumIEEE(body)), body...)
	tmp := path + ".tmp"
	f, err := beneath.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return 0, err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return 0, err
	}
	return len(body), syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readFile returns the list, or nothing if there is none. What is no such
// file, or a damaged one, is put aside.
func readFile(path string) ([]Alarm, error) {
	if path == "" {
		return nil, nil
	}
	list, err := parseFile(path)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return list, nil
	}
	return nil, errors.Join(err, os.Rename(path, path+badEnd))
}

var errForm = errors.New("it is damaged, or no list of alarms of this version")

func parseFile(path string) ([]Alarm, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, errForm
	}
	f, err := beneath.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, err
	}
	return parse(b)
}

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
