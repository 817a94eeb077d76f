package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"fieldferry/gateway/config"
	"fieldferry/gateway/control"
	"fieldferry/gateway/live"
	"fieldferry/gateway/web"

	"github.com/spf13/cobra"
)

func (a *app) newConfigCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "config",
		Short: "Look at the configuration that runs, put another one in place, and go back",
		Long: `config asks the running daemon which configuration it runs, and puts another one
in place: checked, kept on disk, tried for a time, and undone by itself if the
broker, a source or a device is lost by it, or the power is cut meanwhile. It takes
the same way as a configuration from the page or from afar, has the same history,
and leaves the same account.

The file at the site is never changed by the daemon. A configuration that was put in
its place runs, also after a restart, until somebody changes the file; config
adopt writes it there.

The files of conf.d beside it belong to the site's file: all of them are one text, in
which each of them begins at a line "--- # conf.d/NAME". A configuration that is put
in place replaces all of them.`,
	}
	c.AddCommand(a.newConfigShowCommand(), a.newConfigHistoryCommand(), a.newConfigDiffCommand(), a.newConfigApplyCommand(),
		a.newConfigKeepCommand(), a.newConfigRollbackCommand(), a.newConfigAdoptCommand())
	return group(c)
}

// lookAtConfig asks the daemon for its configuration.
func (a *app) lookAtConfig(ctx context.Context, o *statusOptions, effective bool) (*live.ConfigState, error) {
	reply, err := a.ask(ctx, o, control.Request{Verb: control.ConfigShow, Config: &control.ConfigRequest{Effective: effective}})
	switch {
	case err != nil:
		return nil, err
	case reply.Config == nil:
		return nil, errors.New("the daemon does not say which configuration it runs")
	}
	return reply.Config, nil
}

func (a *app) newConfigShowCommand() *cobra.Command {
	var o statusOptions
	effective := false
	c := &cobra.Command{
		Use:   "show",
		Short: "Print the configuration that runs, and where it came from",
		Long: `show prints the configuration that runs, without its secrets, and where it came
from. With --effective it prints each key as it is in effect: with overrides and
variables put in, and with the defaults of keys that are not there.`,
		Example: `  fieldferry config show
  fieldferry config show --effective
  fieldferry config show --json | jq .by`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.lookAtConfig(c.Context(), &o, effective)
			switch {
			case err != nil:
				return err
			case o.json:
				return a.printIndented(s)
			case effective:
				return a.print(settingsText(s.Settings))
			}
			return a.print(originText(s) + printableLines(s.Text))
		},
	}
	o.addFlags(c)
	c.Flags().BoolVar(&effective, "effective", false, "print each key as it is in effect")
	return c
}

func (a *app) print(text string) error {
	_, err := io.WriteString(a.stdout, text)
	return err
}

// printableLines is a text of several lines that does nothing to a terminal.
func printableLines(text string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(printable(strings.TrimRight(line, "\r\n")) + "\n")
	}
	return out.String()
}

// originText says where the configuration that runs came from, as comments.
func originText(s *live.ConfigState) string {
	var text strings.Builder
	switch {
	case s.InFile:
		fmt.Fprintf(&text, "# %s\n", printable(s.Path))
	case s.Note != "":
		fmt.Fprintf(&text, "# not what stands in %s: %s\n", printable(s.Path), printable(s.Note))
	default:
		fmt.Fprintf(&text, "# not what stands in %s now; a reload takes that\n", printable(s.Path))
	}
	if n := len(config.Pieces([]byte(s.Text))) - 1; n > 0 {
		fmt.Fprintf(&text, "# and the files of conf.d that it has, %d; each begins at a line --- # conf.d/NAME\n", n)
	}
	fmt.Fprintf(&text, "# by %s, sha256 %s\n", printable(s.By), s.SHA256)
	if t := s.Attempt; t != nil && !t.Ended() {
		fmt.Fprintf(&text, "# %s\n", trialText(t))
	}
	if afar := afarText(s.Remote); afar != "" {
		fmt.Fprintf(&text, "# from afar: %s\n", afar)
	}
	return text.String()
}

func settingsText(list []live.ConfigSetting) string {
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, s := range list {
		note := ""
		if s.Default {
			note = "\tdefault"
		}
		fmt.Fprintf(t, "%s\t%s%s\n", printable(s.Key), printable(s.Value), note)
	}
	t.Flush()
	return text.String()
}

func (a *app) newConfigHistoryCommand() *cobra.Command {
	var o statusOptions
	c := &cobra.Command{
		Use:   "history",
		Short: "List what became of the last ten configurations",
		Long: `history lists what became of the last ten configurations, the newest first: who
put each in place, and whether it was confirmed, rejected, rolled back, or the
process ended meanwhile (interrupted). One that was refused before anything was
stopped is not among them; config show names the last one from afar.`,
		Example: `  fieldferry config history
  fieldferry config history --json | jq '.[0]'`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.lookAtConfig(c.Context(), &o, false)
			if err != nil {
				return err
			}
			newest := make([]live.ConfigEntry, 0, len(s.History))
			for i := range s.History {
				newest = append(newest, s.History[len(s.History)-1-i])
			}
			if o.json {
				return a.printIndented(newest)
			}
			return a.print(historyText(newest))
		},
	}
	o.addFlags(c)
	return c
}

func historyText(list []live.ConfigEntry) string {
	if len(list) == 0 {
		return "Nothing is known: the daemon has no directory to keep configurations in (--config-store).\n"
	}
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TIME\tRESULT\tBY\tCONFIGURATION\tWHY")
	for _, e := range list {
		fmt.Fprintf(t, "%s\t%s\t%s\t%.12s\t%s\n", e.Time.Local().Format(time.DateTime), printable(strings.ReplaceAll(e.Result, "_", " ")), printable(dash(e.By)), printable(e.ID), printable(dash(e.Why)))
	}
	t.Flush()
	return text.String()
}

func dash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func (a *app) newConfigDiffCommand() *cobra.Command {
	var o statusOptions
	previous := false
	c := &cobra.Command{
		Use:   "diff [FILE]",
		Short: "Show what differs between what runs and a file",
		Long: `diff shows what would change from the configuration that runs to FILE; without
FILE, to the site's file, which a reload takes once it has been edited. With
--previous it shows what has changed from the configuration before to the one that
runs. Secrets are not shown.`,
		Example: `  fieldferry config diff
  fieldferry config diff new.yaml
  fieldferry config diff --previous`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if previous && len(args) > 0 {
				return usageError("with --previous, name no file")
			}
			return a.configDiff(c.Context(), &o, args, previous)
		},
	}
	o.addFlags(c)
	c.Flags().BoolVar(&previous, "previous", false, "from the configuration before to what runs")
	return c
}

func (a *app) configDiff(ctx context.Context, o *statusOptions, args []string, previous bool) error {
	s, err := a.lookAtConfig(ctx, o, false)
	if err != nil {
		return err
	}
	before, after := s.Text, s.File
	switch {
	case previous && s.Previous == "":
		return errors.New("there is no configuration before this one")
	case previous:
		before, after = s.Previous, s.Text
	case len(args) > 0:
		text, err := config.ReadFile(args[0])
		if err != nil {
			return usageError("%w", err)
		}
		after = string(config.Redact(text))
	case s.InFile:
		after = s.Text
	case s.File == "":
		return fmt.Errorf("%s cannot be read", s.Path)
	}
	changes := web.Diff(before, after)
	if o.json {
		return a.printIndented(append([]web.Change{}, changes...))
	}
	if len(changes) == 0 {
		return a.print("No difference; secrets are not compared.\n")
	}
	var text strings.Builder
	for i, l := range changes {
		if i > 0 && l.Sign == " " && changes[i-1].Sign == " " && l.Old > changes[i-1].Old+1 {
			text.WriteString("...\n")
		}
		text.WriteString(l.Sign + " " + printable(l.Text) + "\n")
	}
	return a.print(text.String())
}

type configApplyOptions struct {
	statusOptions
	watch     time.Duration
	untilKept bool
	noWait    bool
}

func (a *app) newConfigApplyCommand() *cobra.Command {
	var o configApplyOptions
	c := &cobra.Command{
		Use:   "apply FILE",
		Short: "Put a configuration in place, with the way back",
		Long: `apply hands FILE to the running daemon, which checks it and puts it in the place of
the one that runs. For the time of --watch it is tried: by its end the broker must
have acknowledged something, each source that delivered before must not be down, and
no alarm of severity error may be new. Otherwise the former one comes back, as it does
after a crash or a power cut. With --until-kept it comes back unless somebody says
fieldferry config keep. With --watch 0 it is not tried.

apply waits for the outcome; Ctrl-C ends the waiting and not the trial. Relative paths in
FILE are relative to the directory of the site's file, which stays as it is. FILE
replaces the files of conf.d beside that too.

Root and the daemon's user may. The exit code is 0 when the configuration is confirmed, 2
when something is wrong with it, and 1 when it was rolled back or not taken.`,
		Example: `  sudo fieldferry config apply new.yaml --watch 10m
  sudo fieldferry config apply new.yaml --watch 5m --until-kept --no-wait
  sudo fieldferry config apply new.yaml --json | jq .state`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			text, err := config.ReadFile(args[0])
			if err != nil {
				return usageError("%w", err)
			}
			return a.change(c.Context(), &o, control.Request{Verb: control.ConfigApply, Config: &control.ConfigRequest{
				Candidate: live.ConfigCandidate{Text: text, Watch: o.watch, Keep: o.untilKept}}}, args[0])
		},
	}
	o.addFlags(c)
	c.Flags().DurationVar(&o.watch, "watch", 10*time.Minute, "how long it is tried (`TIME`), 5s to 24h; 0: not at all")
	c.Flags().BoolVar(&o.untilKept, "until-kept", false, "go back unless somebody keeps it within the time of --watch")
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "do not wait for the outcome")
	return c
}

func (a *app) newConfigKeepCommand() *cobra.Command {
	var o statusOptions
	c := &cobra.Command{
		Use:     "keep",
		Short:   "Confirm the configuration that is being tried",
		Long:    "keep ends the trial of a configuration: it is confirmed. Root and the daemon's user may.",
		Example: "  sudo fieldferry config keep",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := a.ask(c.Context(), &o, control.Request{Verb: control.ConfigKeep})
			switch {
			case err != nil:
				return err
			case o.json:
				return a.printJSON(map[string]string{"state": "confirmed"})
			}
			return a.print("It is confirmed.\n")
		},
	}
	o.addFlags(c)
	return c
}

func (a *app) newConfigRollbackCommand() *cobra.Command {
	var o configApplyOptions
	c := &cobra.Command{
		Use:   "rollback",
		Short: "End a trial, or go back to the configuration before",
		Long: `rollback ends the trial of a configuration: the former one comes back. When none is
being tried, the configuration before the confirmed one is put in place, for the time of
--watch on trial. Root and the daemon's user may. It waits for the outcome, and its exit
code is 0 when the configuration before runs.`,
		Example: `  sudo fieldferry config rollback
  sudo fieldferry config rollback --watch 0`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return a.change(c.Context(), &o, control.Request{Verb: control.ConfigRollBack, Config: &control.ConfigRequest{Watch: o.watch}}, "")
		},
	}
	o.addFlags(c)
	c.Flags().DurationVar(&o.watch, "watch", 10*time.Minute, "how long the configuration before is tried (`TIME`), 5s to 24h; 0: not at all")
	c.Flags().BoolVar(&o.noWait, "no-wait", false, "do not wait for the outcome")
	return c
}

// change has the configuration changed, and waits for what becomes of it. Of a
// file its name is given; a way back that ends a trial is a success.
func (a *app) change(ctx context.Context, o *configApplyOptions, r control.Request, file string) error {
	path, err := a.statusSocket(&o.statusOptions)
	if err != nil {
		return err
	}
	reply, err := askDaemon(ctx, path, r)
	switch {
	case err != nil:
		return err
	case reply.Attempt == nil:
		return errors.New("the daemon does not say what becomes of it")
	}
	t, goal := reply.Attempt, "confirmed"
	if file == "" && t.State == "watching" {
		goal = "rolled_back"
	}
	if !o.noWait && !t.Ended() {
		if t, err = a.await(ctx, path, t, goal); err != nil {
			return err
		}
	}
	if o.json {
		err = a.printIndented(t)
	} else {
		err = a.print(attemptText(t, file))
	}
	switch {
	case err != nil:
		return err
	case t.State == goal, o.noWait && !t.Ended():
		return nil
	case t.State == "rejected" && len(t.Problems) > 0:
		return &exitError{code: exitUsage}
	}
	return &exitError{code: exitFailed}
}

// restartTime is how long a daemon may be away between two gateways, or between
// two processes.
const restartTime = 30 * time.Second

// await asks the daemon again and again what becomes of an attempt. Meanwhile its
// socket goes away and comes back.
func (a *app) await(ctx context.Context, path string, t *live.ConfigAttempt, goal string) (*live.ConfigAttempt, error) {
	said, seen := "", time.Now()
	for {
		if t.State == "watching" && goal == "confirmed" && said != t.State {
			said = t.State
			a.warn("%s", trialText(t))
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("what becomes of it is not waited for: fieldferry config show says how far it is, config history the outcome")
		case <-time.After(300 * time.Millisecond):
		}
		reply, err := control.Ask(ctx, path, control.Request{Verb: control.ConfigShow})
		switch {
		case err == nil && reply.Config != nil:
			seen = time.Now()
			now := reply.Config.Attempt
			if now == nil || now.ID != t.ID {
				return nil, errors.New("the daemon was started again meanwhile, or somebody else has put another one in place; fieldferry config history says what became of it")
			}
			if t = now; t.Ended() {
				return t, nil
			}
		case ctx.Err() != nil:
		case time.Since(seen) > restartTime, err != nil && !away(err):
			return nil, noStatus(path, errors.Join(err, errors.New(reply.Error)))
		}
	}
}

// away reports whether an error is that of a daemon between two gateways.
func away(err error) bool {
	var cut *json.SyntaxError
	for _, is := range []error{fs.ErrNotExist, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, is) {
			return true
		}
	}
	return errors.As(err, &cut)
}

// trialText says how far a configuration is.
func trialText(t *live.ConfigAttempt) string {
	if t.State != "watching" {
		return "a configuration of " + printable(t.By) + " is being put in place"
	}
	text := fmt.Sprintf("a configuration of %s runs and is being tried until %s", printable(t.By), t.Until.Local().Format(time.TimeOnly))
	if t.Keep {
		return text + "; it goes back unless somebody says: sudo fieldferry config keep"
	}
	return text
}

// attemptText says what became of an attempt, as check does of a file.
func attemptText(t *live.ConfigAttempt, file string) string {
	var text strings.Builder
	for _, p := range t.Problems {
		fmt.Fprintln(&text, printable(config.Problem{File: file, Line: p.Line, Col: p.Column, Path: p.Key, What: p.What, Fix: p.Fix, Warning: p.Warning}.String()))
	}
	switch {
	case !t.Ended():
		fmt.Fprintf(&text, "%s\n", trialText(t))
	case t.State == "confirmed":
		fmt.Fprintf(&text, "confirmed: it runs, also after a restart, until the site's file is changed\n")
	default:
		fmt.Fprintf(&text, "%s: the former configuration runs", strings.ReplaceAll(t.State, "_", " "))
		if t.Why != "" {
			fmt.Fprintf(&text, ": %s", printable(t.Why))
		}
		text.WriteString("\n")
	}
	return text.String()
}

// afarText says in a few words what became of the configuration from afar; empty:
// nothing comes from there.
func afarText(report json.RawMessage) string {
	var r struct {
		Version  int64    `json:"version"`
		State    string   `json:"state"`
		Code     string   `json:"code"`
		Problems []string `json:"problems"`
	}
	if json.Unmarshal(report, &r) != nil || r.Version == 0 {
		return ""
	}
	text := fmt.Sprintf("version %d, %s", r.Version, printable(strings.ReplaceAll(r.State, "_", " ")))
	if r.Code != "" {
		text += " (" + printable(r.Code) + ")"
	}
	if len(r.Problems) > 0 {
		text += ": " + printable(r.Problems[0])
	}
	return text
}
