package gateway

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"slices"

	"fieldferry/gateway/statedir"
)

// published remembers which topics have a part of the meta message, also over
// a restart: what a smaller split no longer has would stay at the broker for
// ever. It belongs to the goroutine of the uplink. It is an aid: without a disk
// nothing is remembered.
type published struct {
	files  statedir.Dir
	log    *slog.Logger
	loaded bool
	short  bool     // it was said that not all fits
	now    []string // topics in use
	stale  []string // to be cleared
}

// publishedFile is its file, in the directory of the gateway.
const publishedFile = "meta"

// replace sets the topics in use, and returns those to be cleared.
func (p *published) replace(topics []string) (stale []string) {
	if !p.loaded {
		p.stale, p.loaded = p.load(), true
	}
	before := slices.Concat(p.now, p.stale)
	slices.Sort(before)
	before = slices.Compact(before)
	p.now = topics
	p.stale = slices.DeleteFunc(slices.Clone(before), func(t string) bool { return slices.Contains(topics, t) })
	p.store(before)
	return slices.Clone(p.stale)
}

// cleared says that the broker has forgotten a topic, if it was to.
func (p *published) cleared(topic string) {
	if i := slices.Index(p.stale, topic); i >= 0 {
		before := slices.Concat(p.now, p.stale)
		p.stale = slices.Delete(p.stale, i, i+1)
		p.store(before)
	}
}

// forget gives up on all that is to be cleared, if the topic is of it, and
// returns how much that was. With a broker that ends connections each further
// try would cost one, and the reason is the same for all of a root.
func (p *published) forget(topic string) int {
	n := len(p.stale)
	if !slices.Contains(p.stale, topic) {
		return 0
	}
	before := slices.Concat(p.now, p.stale)
	p.stale = nil
	p.store(before)
	return n
}

// load reads the topics; nothing if there is no such file.
func (p *published) load() (topics []string) {
	b, err := p.files.Read(publishedFile)
	if err == nil {
		err = json.Unmarshal(b, &topics)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p.log.Debug("which meta messages were published cannot be read", "error", err)
		return nil
	}
	return topics
}

// store writes the topics if they are others than before.
func (p *published) store(before []string) {
	all := slices.Concat(p.now, p.stale)
	slices.Sort(all)
	all = slices.Compact(all)
	if slices.Sort(before); slices.Equal(all, slices.Compact(before)) {
		return
	}
	if err := p.write(all); err != nil {
		p.log.Debug("which meta messages were published cannot be stored", "error", err)
	}
}

func (p *published) write(topics []string) error {
	body, err := json.Marshal(topics)
	if err != nil {
		return err
	}
	return p.files.Write(publishedFile, body)
}
