package daemon

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"fieldferry/gateway/config"
	"fieldferry/gateway/live"
)

// Actor is who puts a configuration in place: a door and a name, such as
// web:anna, cli:root, mqtt:ops; mqtt alone is a broker.
type Actor string

// ByFile is whoever has written the site's file.
const ByFile Actor = "file"

// ApplyError says that a candidate does not run, and that the former
// configuration does.
type ApplyError struct {
	Result   Result
	Problems []config.Problem // what is wrong with its text
	Err      error            // why it could not be used
}

func (e *ApplyError) Error() string {
	if e.Err != nil {
		return "the configuration was " + e.Result.words() + ", the former one runs: " + e.Err.Error()
	}
	for _, p := range e.Problems {
		if !p.Warning {
			return "the configuration was " + e.Result.words() + ": " + p.Public().String()
		}
	}
	return "the configuration was " + e.Result.words()
}

func (e *ApplyError) Unwrap() error { return e.Err }

func (r Result) words() string {
	if r == RolledBack {
		return "rolled back"
	}
	return string(r)
}

// candidateFile stands for the file in what is wrong with a candidate.
const candidateFile = "content"

// Candidate is a configuration that is to take the place of the one that runs.
// Relative paths in it are relative to the directory of the site's file.
type Candidate struct {
	Text  []byte
	Parts map[string]string // where copies of files are, see [config.Options]
	By    Actor
	// Watch is the time in which it has to prove itself; 0: it need not.
	Watch time.Duration
	// Keep says that it proves nothing, and goes back unless somebody keeps it.
	Keep bool
	// Tag is what [Daemon.Look] said of what was there when it was made; another
	// one now: a conflict. Empty: any.
	Tag string
	// Check has rules of its own; nil: none. It is called by the daemon's goroutine.
	Check func(next, runs *config.Config) []config.Problem
	// Told hears that the trial begins. It must not block; nil: nobody does.
	Told func(*Trial)
	// Taken hears that it is well, before what runs gives way. It must not block;
	// nil: nobody does.
	Taken func()
	// Attempt names this attempt; empty: it gets a name.
	Attempt string
}

// Apply puts a candidate in the place of the configuration that runs, and
// returns when it is confirmed, or with an *[ApplyError] when the former one
// runs again. With a watch the candidate has to prove itself within that time:
// the broker has acknowledged something, no source that delivered before is
// down, and no alarm of severity error is new; see also [Daemon.Keep].
//
// A candidate that is confirmed runs, also after a start, until the site's file
// is changed. When ctx ends sooner the change goes on without the caller.
func (d *Daemon) Apply(ctx context.Context, n Candidate) error {
	done := make(chan error, 1)
	c := &change{text: n.Text, parts: n.Parts, by: n.By, watch: n.Watch, keep: n.Keep, check: n.Check, told: n.Told, taken: n.Taken, tag: n.Tag,
		attempt: cmp.Or(n.Attempt, rand.Text()), done: done}
	select {
	case d.applies <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-d.ended:
		return ErrStopped
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// candidate checks what is to be applied and copies it into the store. It
// returns nil when that is the end of it.
func (d *Daemon) candidate(c *change) *change {
	defer d.opts.Sparing()()
	d.step("candidate")
	if c.tag != "" && c.tag != d.tag() {
		return d.reject(c, &ApplyError{Result: Rejected, Err: ErrConflict})
	}
	file := d.site() // one that is not there is replaced as well
	if c.parts == nil && sum(file) != sum(c.text) {
		c.parts = d.page.inherited()
	}
	o := d.opts.Config()
	o.Parts = c.parts
	cfg, problems := config.Parse(d.opts.Path, c.text, o)
	if cfg != nil && c.check != nil {
		problems = c.check(cfg, d.now.cfg)
	}
	if cfg == nil || config.HasErrors(problems) {
		return d.reject(c, &ApplyError{Result: Rejected, Problems: problems})
	}
	if cfg.Same(d.now.cfg) && cfg.Log == d.now.cfg.Log {
		d.reply(c, nil)
		return nil
	}
	c.cfg = cfg
	by := c.by
	c.note = ""
	if c.site = sum(file); c.site == sum(c.text) && c.parts == nil { // with files of its own it is not the site's
		c.site, c.by = "", ByFile
	} else {
		c.note = placed(c.by)
	}
	var err error
	if c.id, err = d.opts.Store.Put(cfg); err == nil && c.id == "" && c.watch > 0 {
		err = errors.New("there is no directory to keep the former configuration in; start with fieldferry run --config-store DIR, or put it in place without a trial")
	}
	if err == nil && c.parts != nil {
		c.cfg, err = d.own(c.id, cfg)
	}
	if err != nil {
		return d.reject(c, &ApplyError{Result: Rejected, Err: fmt.Errorf("it cannot be kept: %w", err)})
	}
	d.log.Info("a configuration is put in place", "by", by, "watch", c.watch)
	d.audit("config_apply", by, fmt.Sprintf("%.12s, watch %v", c.id, c.watch))
	d.came(c, "applying", nil)
	if c.taken != nil {
		c.taken()
	}
	return c
}

// own is a configuration read again out of its copy in the store: the files that
// it came with do not stay where they were, and some are read while it runs.
func (d *Daemon) own(id string, cfg *config.Config) (*config.Config, error) {
	if id == "" {
		return cfg, nil
	}
	own, problems := d.opts.Store.load(id, d.opts.Path, d.opts.Config())
	if own == nil {
		return nil, &ApplyError{Result: Rejected, Problems: problems}
	}
	return own, nil
}

// reject says that a candidate is not even tried. What is wrong stands in its own
// text and not in the site's file, which whoever sent it may never have seen.
func (d *Daemon) reject(c *change, why *ApplyError) *change {
	for i := range why.Problems {
		if p := &why.Problems[i]; p.File == d.opts.Path {
			p.File = candidateFile
		} else {
			p.File = strings.TrimPrefix(p.File, filepath.Dir(d.opts.Path)+"/")
		}
	}
	d.audit("config_rejected", c.by, why.Error())
	d.reply(c, why)
	return nil
}

// reread reads the file again and returns what it says, if that can be used
// and is not what is in use.
func (d *Daemon) reread() *change {
	defer d.opts.Sparing()()
	d.step("reread")
	d.opts.Reload()
	if d.page.renew != nil {
		d.page.renew()
	}
	cfg, problems := config.Load(d.opts.Path, d.opts.Config())
	var wrong []string
	for _, p := range problems {
		said := p.Public().String()
		if p.Warning {
			d.log.Warn(said)
			continue
		}
		wrong = append(wrong, said)
		d.log.Error(said)
	}
	path := d.opts.Path
	switch {
	case cfg != nil && d.now.site != "" && sum(cfg.Text()) == d.now.site:
		d.log.Info("the file is the one that another configuration was put in the place of; change it to use it again", "config", path, "by", d.now.by)
	case cfg == nil:
		d.log.Error("the new configuration was rejected; keeping the current one", "config", path, "problems", len(wrong))
		d.gateway.ConfigRejected(wrong)
	case cfg.Same(d.now.cfg):
		d.log.Info("the configuration is the same", "config", path)
		d.gateway.ConfigAccepted()
		d.take(cfg)
	default:
		d.log.Info("the configuration has changed", "config", path)
		c := &change{cfg: cfg, by: ByFile}
		var err error
		if c.id, err = d.opts.Store.Put(cfg); err != nil {
			d.log.Warn("the new configuration could not be kept; it is used all the same", "error", err)
		}
		return c
	}
	d.opts.Notify("READY=1")
	return nil
}

// take notes that what runs is what the file says.
func (d *Daemon) take(cfg *config.Config) {
	d.now = &change{cfg: cfg, by: ByFile}
	d.page.running.Store(&running{sum(cfg.Text()), string(config.Redact(cfg.Text())), time.Now().UTC(), cfg, ByFile, ""})
	d.opts.Logging(cfg.Log)
	d.confirm()
}

// released lets next take the place of what runs: points whose fallback is armed,
// and which next does not have as they are, get it first, as nobody could write
// it afterwards. If that fails, next is rejected. A way back is never kept up.
func (d *Daemon) released(ctx context.Context, next *change) *change {
	if next == nil {
		return nil
	}
	err := d.gateway.ReleasePoints(ctx, next.cfg)
	switch {
	case err == nil:
		return next
	case next.back != nil:
		d.log.Error("a fallback could not be written before its point went", "error", err)
		return next
	}
	d.log.Error("the new configuration was rejected; keeping the current one", "error", err)
	d.gateway.ConfigRejected([]string{err.Error()})
	d.reply(next, &ApplyError{Result: Rejected, Err: err})
	d.opts.Notify("READY=1")
	return nil
}

// replace opens a gateway for next, or again for what ran before if that
// cannot be done. An error means that neither can be opened.
func (d *Daemon) replace(next *change) error {
	d.opts.Ping()
	old, before := d.now, d.gateway.Look().Snapshot()
	err := d.stage(next)
	if err == nil {
		err = d.try(next, old)
	}
	if err == nil {
		d.opened(next, old, before)
		return nil
	}
	d.opts.Ping()
	if next.back != nil {
		return err
	}
	d.log.Error("the new configuration cannot be used; keeping the current one", "error", err)
	if err := d.open(old); err != nil {
		return err
	}
	d.failed = &Entry{ID: next.id, By: string(next.by), Result: Rejected, Why: err.Error()}
	d.gateway.ConfigRejected([]string{err.Error()})
	d.audit("config_rejected", next.by, err.Error())
	d.reply(next, &ApplyError{Result: Rejected, Err: err})
	return nil
}

// stage notes in the store that a candidate is being put in place. From here on
// a start runs the former one, until it is confirmed.
func (d *Daemon) stage(next *change) error {
	if next.back != nil || next.id == "" {
		return nil
	}
	st := d.opts.Store.State()
	st.Pending = next.id
	err := d.opts.Store.Set(st)
	if err != nil && next.watch == 0 {
		d.log.Warn("the new configuration could not be noted; it is used all the same", "error", err)
		return nil
	}
	return err
}

// try opens the gateway of next. A new buffer that takes no records is none.
func (d *Daemon) try(next, old *change) error {
	left := d.gateway.Stats().Buffer.Pending
	moved := next.cfg.Buffer.Dir != old.cfg.Buffer.Dir
	if err := d.open(next); err != nil {
		return err
	}
	if st := d.gateway.Stats().Buffer; moved && st.Session == 0 && next.back == nil {
		_ = d.gateway.Close() // it has taken nothing yet
		return errors.New("buffer.path cannot be used: " + st.Fault)
	}
	if moved && left > 0 {
		d.log.Warn("records stay behind in the old buffer; they are sent when buffer.path names it again", "directory", old.cfg.Buffer.Dir, "records", left)
	}
	return nil
}

// opened goes on with a candidate whose gateway is open, or with the former
// configuration after it.
func (d *Daemon) opened(next, old *change, before *live.Snapshot) {
	d.trial = nil
	d.view.Store(nil)
	switch {
	case next.back != nil:
		why := next.back
		next.back = nil
		d.gateway.ConfigRejected([]string{why.Error()})
		d.audit("config_rolled_back", next.away, why.Error())
		d.reply(next, &ApplyError{Result: RolledBack, Err: why})
	case next.watch > 0:
		d.trial = &trial{of: next, former: old, before: before}
		t := &Trial{By: next.by, ID: next.id, SHA256: sum(next.text), Until: time.Now().Add(next.watch).UTC(), Keep: next.keep}
		d.came(next, "watching", t) // first: whoever sees the trial sees it there too
		d.view.Store(t)
		next.tell(t)
	}
}

// confirm notes in the store that what runs is to run from now on.
func (d *Daemon) confirm() {
	defer d.opts.Sparing()()
	st := d.opts.Store.State()
	now := time.Now().UTC()
	id, err := d.opts.Store.Put(d.now.cfg)
	if err != nil {
		d.log.Warn("the configuration could not be kept for a start at which the file is wrong", "error", err)
		id = st.Confirmed
	}
	if st.Pending != "" && st.Pending != id {
		e := d.failed
		if e == nil {
			e = &Entry{ID: st.Pending, Result: Interrupted}
		}
		e.Time = now
		st.History = append(st.History, *e)
	}
	if st.Confirmed != id {
		st.Previous, st.Confirmed = st.Confirmed, id
		st.History = append(st.History, Entry{Time: now, ID: id, By: string(d.now.by), Result: Confirmed})
		d.audit("config_confirmed", d.now.by, id[:min(len(id), 12)])
	}
	if err == nil {
		st.Site, st.By = d.now.site, string(d.now.by)
	}
	st.Pending, d.failed = "", nil
	d.step("confirm")
	if err := d.opts.Store.Set(st); err != nil {
		d.log.Warn("it could not be noted which configuration runs", "error", err)
	}
	d.follow(d.now, false)
	d.reply(d.now, nil)
}
