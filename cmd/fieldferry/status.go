package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"fieldferry/gateway/config"
	"fieldferry/gateway/control"
	"fieldferry/gateway/live"

	"github.com/spf13/cobra"
)

// packagedSocket is where the daemon of the package is asked.
const packagedSocket = "/run/fieldferry/control"

// controlSocket is where the daemon with the buffer in a directory is asked:
// there, if it was started by hand, or else where the package has it.
func (a *app) controlSocket(bufferDir string) (string, error) {
	path, err := control.Path(bufferDir)
	if err == nil {
		if _, missing := os.Lstat(path); missing == nil {
			return path, nil
		}
	}
	if _, missing := os.Lstat(packagedSocket); missing == nil {
		return packagedSocket, nil
	}
	return path, err
}

type statusOptions struct {
	config configOptions
	socket string
	json   bool
	watch  bool
	check  bool
}

func (a *app) newStatusCommand() *cobra.Command {
	var o statusOptions
	c := &cobra.Command{
		Use:   "status",
		Short: "Say how the running daemon fares",
		Long: `status asks the running daemon how it fares: its state in a sentence, the
sources, the buffer with the time until it is full, the uplink, and every raised
alarm with what to do about it.

The daemon of the package is found by itself; members of the group fieldferry
may ask it. For one that was started by hand give its configuration.

The exit code is 1 when no daemon answers. With --check it is also 1 when the
state is attention, outage or losing, or an alarm of severity error or critical is
raised: for cron, monitoring agents and scripts.`,
		Example: `  fieldferry status
  fieldferry status --watch
  fieldferry status --json | jq .sentence
  fieldferry status --check >/dev/null || echo "look at it"
  fieldferry status -c fieldferry.yaml`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.status(c.Context(), o) },
	}
	o.addFlags(c)
	c.Flags().BoolVarP(&o.watch, "watch", "w", false, "print it again each second until Ctrl-C")
	c.Flags().BoolVar(&o.check, "check", false, "exit code 1 unless the gateway is well")
	c.MarkFlagsMutuallyExclusive("watch", "check")
	return c
}

// addFlags adds the flags that say which daemon is asked, and in which form it
// answers.
func (o *statusOptions) addFlags(c *cobra.Command) {
	o.config.addFlags(c)
	c.Flags().StringVar(&o.socket, "socket", "", "control socket of the daemon, `PATH`")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	c.PreRun = func(c *cobra.Command, _ []string) {
		if !c.Flags().Changed("config") {
			o.config.path = ""
		}
	}
}

func (a *app) status(ctx context.Context, o statusOptions) error {
	path, err := a.statusSocket(&o)
	if err != nil {
		return err
	}
	var failures failures
	for {
		reply, err := askDaemon(ctx, path, control.Request{Verb: control.Status})
		switch {
		case ctx.Err() != nil && o.watch:
			return nil
		case err != nil && !o.watch:
			return err
		case err != nil:
			if failures.news(err, time.Now()) {
				a.warn("%v", err)
			}
		default:
			failures.said = nil
			if err := a.printStatus(reply.Status, o); err != nil {
				return err
			}
			if o.check && !well(reply.Status) {
				return &exitError{code: exitFailed}
			}
		}
		if !o.watch {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
	}
}

// well reports whether nobody has to look at a gateway.
func well(s *live.Snapshot) bool {
	for i := range s.Alarms {
		if s.Alarms[i].IsError() {
			return false
		}
	}
	return s.State != live.Attention && s.State != live.Outage && s.State != live.Losing
}

func (a *app) statusSocket(o *statusOptions) (string, error) {
	switch {
	case o.socket != "":
		return o.socket, nil
	case o.config.path == "":
		return packagedSocket, nil
	}
	dir, err := a.bufferDir(o.config)
	if err == nil {
		return a.controlSocket(dir)
	}
	if o.config.isServices() && exists(packagedSocket) {
		return packagedSocket, nil
	}
	a.warn("name the daemon's control socket with --socket PATH to ask it all the same")
	return "", err
}

// bufferDir is buffer.path of a configuration, also of one with errors as long as
// that much can be read: the daemon still runs while somebody edits its file.
func (a *app) bufferDir(o configOptions) (string, error) {
	var refused *config.Config
	o.refused = func(c *config.Config) { refused = c }
	cfg, problems := a.loadQuietly(o)
	if cfg != nil {
		return cfg.Buffer.Dir, nil
	}
	if refused != nil && refused.Buffer.Dir != "" {
		a.warn("%s has errors, which fieldferry check lists; the daemon that has its buffer.path is asked", o.path)
		return refused.Buffer.Dir, nil
	}
	for _, p := range problems {
		a.warn("%v", p)
	}
	return "", &exitError{code: exitUsage}
}

// askDaemon asks the daemon at a socket. The error is in words for a person:
// that no daemon answers, or what it answers.
func askDaemon(ctx context.Context, path string, r control.Request) (control.Reply, error) {
	reply, err := control.Ask(ctx, path, r)
	switch {
	case err != nil:
		return reply, noStatus(path, err)
	case reply.Error != "":
		return reply, errors.New(reply.Error)
	}
	return reply, nil
}

// ask asks the daemon that the flags name.
func (a *app) ask(ctx context.Context, o *statusOptions, r control.Request) (control.Reply, error) {
	path, err := a.statusSocket(o)
	if err != nil {
		return control.Reply{}, err
	}
	return askDaemon(ctx, path, r)
}

// noStatus says why the daemon cannot be asked, and what to do.
func noStatus(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no daemon answers at %s; start it%s", path, howToStart(path))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the daemon at %s may not be asked by this user; use sudo, or join the group fieldferry (sudo adduser $USER fieldferry)", path)
	}
	return err
}

// howToStart is how a daemon comes to listen there. That of the package is asked
// where no configuration was named, and another one may be meant.
func howToStart(path string) string {
	if path == packagedSocket {
		return " (systemctl start fieldferry; if it has nothing to run, systemctl status fieldferry says why), or name the configuration of one that was started by hand with -c"
	}
	return " (fieldferry run -c FILE), as the user who asks or as root"
}

func (a *app) printStatus(s *live.Snapshot, o statusOptions) error {
	if o.json {
		enc := json.NewEncoder(a.stdout)
		if !o.watch {
			enc.SetIndent("", "  ")
		}
		return enc.Encode(s)
	}
	var text strings.Builder
	writeStatus(&text, s, o.watch)
	if o.watch && isTerminal(a.stdout) { // from the top left, and clear what is below
		if _, err := io.WriteString(exact(a.stdout), "\x1b[H\x1b[J"); err != nil {
			return err
		}
	}
	_, err := io.WriteString(a.stdout, text.String())
	return err
}

// writeStatus writes a snapshot for people.
func writeStatus(w io.Writer, s *live.Snapshot, withTime bool) {
	fmt.Fprintf(w, "%s: %s\n", printable(s.Gateway), printable(s.Sentence))
	if withTime {
		fmt.Fprintf(w, "%s\n", s.Taken.Local().Format("15:04:05"))
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SOURCE\tSTATE\tRATE\tLAST\tRECORDS\tLOST\tDETAIL")
	for i := range s.Sources {
		src := &s.Sources[i]
		if src.Kind == "gateway" {
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", printable(src.Name), printable(src.Word), rateText(src.Rate), ageText(src.ReadAge),
			live.Thousands(src.Records), live.Thousands(src.Lost), printable(detailOf(src)))
	}
	t.Flush()
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "Buffer\t%s\n", bufferText(&s.Buffer))
	fmt.Fprintf(t, "Uplink\t%s\n", printable(uplinkText(&s.Uplink, s.Taken)))
	fmt.Fprintf(t, "Clock\t%s\n", clockText(&s.Clock))
	fmt.Fprintf(t, "Daemon\t%s, running for %s, %s of memory, %.1f %% of a core, session %d\n", printable(s.Version),
		live.Span(s.Taken.Sub(s.Started).Seconds()), bytesText(s.Process.Memory), s.Process.CPU, s.Session)
	if s.Config.Note != "" {
		fmt.Fprintf(t, "Config\t%s\n", printable(s.Config.Note))
	}
	if !s.Config.Trial.IsZero() {
		fmt.Fprintf(t, "Trial\tthe configuration is being tried until %s\n", s.Config.Trial.Local().Format(time.TimeOnly))
	}
	if s.Config.AfarNote != "" {
		fmt.Fprintf(t, "Afar\t%s\n", printable(s.Config.AfarNote))
	}
	t.Flush()
	for i := range s.Alarms {
		writeAlarm(w, &s.Alarms[i], s.Taken)
	}
}

func writeAlarm(w io.Writer, al *live.Alarm, now time.Time) {
	where := al.Source
	if al.Subject != "" {
		where += "/" + al.Subject
	}
	since := ""
	if !al.Since.IsZero() {
		since = ", for " + live.Span(now.Sub(al.Since).Seconds())
	}
	fmt.Fprintf(w, "\n%s: %s (%s, %s%s)\n  %s\n  What to do: %s\n", strings.ToUpper(al.Severity), al.Title, printable(where), al.Code, since, al.Means, al.Do)
	if len(al.Detail) > 0 {
		fmt.Fprintf(w, "  Detail: %s\n", printable(detailText(al.Detail)))
	}
}

// detailText writes the detail of an alarm in one line, the error first.
func detailText(detail map[string]any) string {
	var first, rest []string
	for k, v := range detail {
		text, plain := v.(string)
		if !plain {
			b, _ := json.Marshal(v)
			text = string(b)
		}
		text = strings.ReplaceAll(k, "_", " ") + ": " + text
		if k == "error" {
			first = append(first, text)
		} else {
			rest = append(rest, text)
		}
	}
	sort.Strings(rest)
	return strings.Join(append(first, rest...), "; ")
}

func detailOf(s *live.Source) string {
	switch {
	case s.CAN != nil && s.CAN.Load >= 0:
		return fmt.Sprintf("%s, bus load %.0f %%, %d error frames", s.Where, s.CAN.Load, s.CAN.ErrorCount)
	case s.CAN != nil:
		return fmt.Sprintf("%s, %d frames/s, %d error frames", s.Where, s.CAN.FrameRate, s.CAN.ErrorCount)
	case s.Modbus != nil:
		text := fmt.Sprintf("%s, %d timeouts, %d CRC errors", s.Where, s.Modbus.Timeouts, s.Modbus.CRC)
		if n := s.Modbus.Refused; n > 0 {
			text += fmt.Sprintf(", registers not read: %d", n)
		}
		return text
	}
	return s.Where
}

func bufferText(b *live.Buffer) string {
	text := fmt.Sprintf("%s records, %s of %s (%.1f %%)", live.Thousands(b.Records), bytesText(b.Disk), bytesText(b.Limit), b.Percent)
	if b.OldestAge >= 5 { // what is on its way is younger
		text += ", the oldest " + live.Span(b.OldestAge) + " old"
	}
	if b.FullIn > 0 {
		text += ", full in about " + live.Span(b.FullIn)
	}
	if b.Lost > 0 {
		text += ", " + live.Thousands(b.Lost) + " lost"
	}
	if b.Fault != "" {
		text += "; the disk does not take records: " + printable(b.Fault)
	}
	return text
}

func uplinkText(u *live.Uplink, now time.Time) string {
	since := ""
	if u.Since.Year() > 1 {
		since = " for " + live.Span(now.Sub(u.Since).Seconds())
	}
	if !u.Connected {
		text := "not connected" + since
		if u.Error != "" {
			text += ": " + u.Error
		}
		return text
	}
	text := fmt.Sprintf("connected to %s%s, %s acknowledged, %d of %d messages in flight", u.Server, since, rateText(u.Rate), u.InFlight, u.Window)
	if u.Mute() {
		text += ", nothing acknowledged for " + live.Span(u.Unanswered)
	}
	if u.Backlog > 0 {
		text += ", " + live.Thousands(u.Backlog) + " records of backlog"
	}
	return text
}

func clockText(c *live.Clock) string {
	if c.Trusted {
		return "trusted"
	}
	return "not trusted: " + strings.ReplaceAll(c.Why, "_", " ")
}

func rateText(r float64) string {
	switch {
	case r == 0:
		return "0/s"
	case r < 10:
		return fmt.Sprintf("%.1f/s", r)
	}
	return live.Thousands(uint64(r+0.5)) + "/s"
}

func ageText(seconds float64) string {
	switch {
	case seconds < 0:
		return "never"
	case seconds < 1:
		return "< 1 s"
	}
	return live.Span(seconds)
}
