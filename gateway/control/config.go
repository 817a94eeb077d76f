package control

import (
	"context"
	"time"

	"fieldferry/gateway/live"
)

// The verbs about the configuration.
const (
	ConfigShow     = "config_show"
	ConfigApply    = "config_apply"
	ConfigKeep     = "config_keep"
	ConfigRollBack = "config_rollback"
)

var configVerbs = []string{ConfigShow, ConfigApply, ConfigKeep, ConfigRollBack}

// ConfigRequest is what a verb about the configuration takes.
type ConfigRequest struct {
	Effective bool                 `json:"effective,omitempty"` // of ConfigShow: what is in effect too
	Candidate live.ConfigCandidate `json:"candidate"`           // of ConfigApply
	Watch     time.Duration        `json:"watch,omitempty"`     // of ConfigRollBack
}

// Configs shows the configuration and puts others in place. Who asks is named
// as cli:NAME.
type Configs interface {
	LookAtConfig(effective bool) live.ConfigState
	// ApplyConfig and RollBackConfig return when a candidate is on its way or
	// refused; what becomes of it is in the state.
	ApplyConfig(ctx context.Context, by string, c live.ConfigCandidate) (live.ConfigAttempt, error)
	RollBackConfig(ctx context.Context, by string, watch time.Duration) (live.ConfigAttempt, error)
	KeepConfig(ctx context.Context, by string) error
	OnTrial() time.Time // until when what runs has to prove itself; zero: it need not
}

// config answers a request about the configuration. Whoever may ask for the
// state may see it; only the owner changes it.
func (d *Door) config(ctx context.Context, r *Request, name string, owner bool) Reply {
	var c ConfigRequest
	if r.Config != nil {
		c = *r.Config
	}
	by := "cli:" + name
	var attempt live.ConfigAttempt
	var err error
	switch {
	case d.Configs == nil:
		return Reply{Error: "this gateway takes no other configuration"}
	case r.Verb == ConfigShow:
		s := d.Configs.LookAtConfig(c.Effective)
		return Reply{Config: &s}
	case !owner:
		return Reply{Error: "only root and the daemon's user may change the configuration; use sudo"}
	case r.Verb == ConfigKeep:
		if err := d.Configs.KeepConfig(ctx, by); err != nil {
			return Reply{Error: err.Error()}
		}
		return Reply{}
	case r.Verb == ConfigApply:
		attempt, err = d.Configs.ApplyConfig(ctx, by, c.Candidate)
	default:
		attempt, err = d.Configs.RollBackConfig(ctx, by, c.Watch)
	}
	if err != nil {
		return Reply{Error: err.Error()}
	}
	return Reply{Attempt: &attempt}
}
