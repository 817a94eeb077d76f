package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"fieldferry/gateway"
	"fieldferry/gateway/config"
	"fieldferry/gateway/record"
	"fieldferry/gateway/remote"
)

// afar is the daemon as package remote needs it.
type afar struct{ d *Daemon }

// newAgent makes the agent that takes configurations from afar.
func (d *Daemon) newAgent() *remote.Agent {
	a := afar{d}
	return remote.New(remote.Options{Daemon: a, Files: notes{d.opts.Store}, Parts: newParts(d.opts.Store), Log: d.log.With("part", "remote"), Changed: a.changed, Event: a.event})
}

// changed has the report published.
func (a afar) changed() {
	if g := a.d.page.looking.gateway.Load(); g != nil {
		g.ReportConfig()
	}
}

func (a afar) event(action, detail string) {
	if g := a.d.page.looking.gateway.Load(); g != nil {
		g.Audit(time.Now(), record.Audit{Action: action, By: "mqtt", Detail: detail[:min(len(detail), maxDetail)]})
	}
}

// follow tells the agent which configuration runs.
func (d *Daemon) follow(c *change, trial bool) {
	r := &c.cfg.Remote
	d.agent.Follow(remote.Settings{
		Gateway: c.cfg.Gateway.ID, Mode: string(r.Mode), Signers: c.cfg.Commands.Signers,
		Running: nameOf(c.cfg.Text()), Origin: string(c.by), Trial: trial,
	})
}

// nameOf names a configuration for those who may not see its secrets: the SHA-256
// of its text, without secrets if there are any.
func nameOf(text []byte) string {
	if config.Secretive(text) {
		text = config.Redact(text)
	}
	return sum(text)
}

// Apply implements [remote.Daemon].
func (a afar) Apply(ctx context.Context, c *remote.Change) error {
	if a.d.opts.Store.dir == "" {
		return &remote.Failure{State: remote.Rejected, Code: remote.Storage, Problems: []string{"there is no directory to keep the former configuration in; name one with --config-store"}}
	}
	parts := a.copies(c.Parts)
	if err := a.probe(ctx, c, parts); err != nil {
		return &remote.Failure{State: remote.Rejected, Code: remote.NoUplink, Problems: []string{err.Error()}}
	}
	code := remote.Invalid
	err := a.d.Apply(ctx, Candidate{
		Text: c.Text, Parts: parts, By: Actor(c.By), Watch: c.Watch,
		Check: func(next, runs *config.Config) (list []config.Problem) {
			list, code = afarRules(a.d.opts.Path, c, next, runs)
			return list
		},
		Told: func(t *Trial) { c.Told(t.Until) },
	})
	return failure(err, code)
}

// RollBack implements [remote.Daemon].
func (a afar) RollBack(ctx context.Context, by string, watch time.Duration, told func(time.Time)) error {
	w := &decision{by: Actor(by), watch: watch}
	if told != nil {
		w.told = func(t *Trial) { told(t.Until) }
	}
	return failure(a.d.ask(ctx, w), remote.Invalid)
}

// afarRules are the rules for a configuration that comes from afar.
func afarRules(path string, c *remote.Change, next, runs *config.Config) ([]config.Problem, remote.Code) {
	list := config.Afar(path, c.Text, runs.Text(), c.Signed)
	if !c.Signed {
		list = append(list, next.NewSecrets(runs)...)
	}
	if len(list) > 0 {
		return list, remote.Secret
	}
	for _, section := range next.Changed(runs) {
		switch {
		case !slices.Contains(runs.Remote.Allow, section):
			list = append(list, next.Problem(section, "must not be changed from afar", "leave it as it is, or name "+section+" under remote_config.allow at the gateway", false))
		case section == "commands" && !c.Signed:
			list = append(list, next.Problem(section, "is changed from afar only by a signed document", "sign it", false))
		}
	}
	return list, remote.NotAllowed
}

// probeTime is how long the brokers of a new uplink have to answer.
const probeTime = 30 * time.Second

// probe asks the brokers of a configuration with another uplink whether they
// take the gateway, before the connection that works is given up. They hear the
// secrets of it, so one that will be rejected asks nobody.
func (a afar) probe(ctx context.Context, c *remote.Change, parts map[string]string) error {
	runs := a.d.page.running.Load().cfg
	o := a.d.opts.Config()
	o.Parts = parts
	next, _ := config.Parse(a.d.opts.Path, c.Text, o)
	if next == nil || !slices.Contains(next.Changed(runs), "uplink") {
		return nil
	}
	if list, _ := afarRules(a.d.opts.Path, c, next, runs); len(list) > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	list, err := gateway.ProbeBrokers(ctx, &next.Uplink)
	if err != nil {
		return err
	}
	var why error
	for _, e := range list {
		if e == nil {
			return nil
		}
		why = e
	}
	return fmt.Errorf("no broker of the new uplink takes the gateway: %w", why)
}

// failure says in the words of package remote why a configuration does not run.
func failure(err error, code remote.Code) error {
	var no *ApplyError
	switch {
	case errors.Is(err, ErrNoFormer):
		return &remote.Failure{State: remote.Rejected, Code: remote.Unusable, Problems: []string{err.Error()}}
	case !errors.As(err, &no):
		return err
	}
	f := &remote.Failure{State: remote.Rejected, Code: code}
	var asked *RequestedError
	switch {
	case no.Result == RolledBack && errors.Is(no.Err, ErrNoUplink):
		f.State, f.Code = remote.RolledBack, remote.NoUplink
	case no.Result == RolledBack && errors.As(no.Err, &asked):
		f.State, f.Code = remote.RolledBack, remote.Requested
	case no.Result == RolledBack:
		f.State, f.Code = remote.RolledBack, remote.Worse
	case no.Err != nil:
		f.Code = remote.Unusable
	}
	if no.Err != nil {
		f.Problems = append(f.Problems, no.Err.Error())
	}
	for _, p := range no.Problems {
		if !p.Warning {
			f.Problems = append(f.Problems, p.Public().String())
		}
	}
	return f
}

// notes are small files in the store, which belong to somebody else.
type notes struct{ store Store }

// maxNote is how large one may be.
const maxNote = 1 << 20

// Read implements [remote.Files].
func (n notes) Read(name string) ([]byte, error) {
	d, err := openFolder(n.store.dir)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return d.read(name, maxNote)
}

// Write implements [remote.Files].
func (n notes) Write(name string, data []byte) error {
	if n.store.dir == "" {
		return errors.New("there is no directory for it; name one with --config-store")
	}
	d, err := makeFolder(n.store.dir, n.store.step)
	if err != nil {
		return err
	}
	defer d.close()
	return d.replace(name, data)
}
