package daemon

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"
)

// awaiting says how often a daemon without a gateway looks whether the site's
// files have changed, and after what time it tries again although they have not:
// a disk, a DBC file or another process may have been in the way.
type awaiting struct{ look, try time.Duration }

var patiently = awaiting{look: 5 * time.Second, try: time.Minute}

// Await is for a daemon under a service manager whose [Start] has failed with why:
// it stays up without a gateway, says so, and tries again when the site's files
// change, at a SIGHUP, and once a minute, until a gateway is open, or ctx ends:
// [ErrStopped]. What is wrong is said again only when it is something else.
func (d *Daemon) Await(ctx context.Context, hangup <-chan os.Signal, why error) error {
	return d.await(ctx, hangup, why, patiently)
}

func (d *Daemon) await(ctx context.Context, hangup <-chan os.Signal, why error, a awaiting) error {
	d.log.Error("nothing runs; another attempt follows when the configuration changes, at a reload, and once a minute", "config", d.opts.Path)
	begun, tries, tried, files := time.Now(), 0, time.Now(), sum(d.site())
	d.opts.Notify("READY=1") // it can be reloaded
	d.opts.Notify("STATUS=" + d.nothing(why))
	tick := time.NewTicker(a.look)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return ErrStopped
		case <-hangup:
			d.opts.Reload()
			asked = true
		case <-tick.C:
		}
		d.opts.Ping()
		now := sum(d.site())
		if !asked && now == files && time.Since(tried) < a.try {
			continue
		}
		tries, tried, files = tries+1, time.Now(), now
		if why = d.start(); why == nil {
			d.log.Info("the gateway runs again", "config", d.opts.Path, "attempts", tries, "after", time.Since(begun).Round(time.Second))
			return nil
		}
		if asked {
			d.opts.Notify("READY=1")
		}
		d.opts.Notify("STATUS=" + d.nothing(why))
	}
}

// nothing says in a sentence why nothing runs.
func (d *Daemon) nothing(why error) string {
	if !errors.Is(why, ErrUnusable) {
		return "Nothing runs, the gateway cannot be opened: " + strings.ReplaceAll(why.Error(), "\n", " ")
	}
	return "Nothing runs, the configuration cannot be used: " + d.said[:max(0, strings.IndexByte(d.said, '\n'))]
}
