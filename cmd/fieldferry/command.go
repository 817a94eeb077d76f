package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"fieldferry/gateway/command"
	"fieldferry/gateway/control"
	"fieldferry/gateway/live"

	"github.com/spf13/cobra"
)

type commandOptions struct {
	statusOptions
	expect, reason, id string
	ttl                time.Duration
	read               bool
}

func (a *app) newCommandCommand() *cobra.Command {
	var o commandOptions
	c := &cobra.Command{
		Use:         "command POINT VALUE",
		Annotations: map[string]string{takesNegative: ""},
		Short:       "Write a point of the configuration through the running daemon",
		Long: `command asks the running daemon to write one of the points that its
configuration names under commands, within their limits, and prints what became
of it: what was written, and what was read back. It takes the same way, and
leaves the same account, as a command that comes by MQTT or from the page.

VALUE is a number, true or false; for a CAN message with several signals an
object such as {"Enable":1,"Speed":50}. With --read nothing is written: the point,
or a register that commands.read lets be read, is read fresh.

Root and the daemon's user may. The exit code is 1 when the value is not there.`,
		Example: `  sudo fieldferry command boiler.setpoint 62.5
  sudo fieldferry command boiler.setpoint 62.5 --expect 60 --reason "ticket 4711"
  sudo fieldferry command --read boiler.setpoint`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case o.read && len(args) != 1:
				return usageError("with --read, name one point or register")
			case !o.read && len(args) != 2:
				return usageError("name a point and a value, such as: fieldferry command boiler.setpoint 62.5")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error { return a.command(c.Context(), o, args) },
	}
	o.addFlags(c)
	c.Flags().StringVar(&o.expect, "expect", "", "write only if this is the present `VALUE`")
	c.Flags().StringVar(&o.reason, "reason", "", "your reason, for the account (`TEXT`)")
	c.Flags().StringVar(&o.id, "id", "", "the command's own name, `ID`: the same one is never carried out twice (default: a new one)")
	c.Flags().DurationVar(&o.ttl, "ttl", 10*time.Second, "give up when it has not begun within this `TIME`")
	c.Flags().BoolVar(&o.read, "read", false, "read, and write nothing")
	return c
}

// asJSON is a value as somebody types it: what is JSON stays, the rest is a text.
func asJSON(text string) json.RawMessage {
	if json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	quoted, _ := json.Marshal(text)
	return quoted
}

// commandText is the request of a command line.
func commandText(o commandOptions, args []string) ([]byte, error) {
	r := map[string]any{"v": command.Version, "id": o.id, "ttl": o.ttl.String()}
	if o.id == "" {
		r["id"] = rand.Text()
	}
	if o.read {
		r["read"] = args[0]
	} else {
		r["point"], r["value"] = args[0], asJSON(args[1])
	}
	if o.expect != "" {
		r["expect"] = asJSON(o.expect)
	}
	if o.reason != "" {
		r["reason"] = o.reason
	}
	return json.Marshal(r)
}

func (a *app) command(ctx context.Context, o commandOptions, args []string) error {
	text, err := commandText(o, args)
	if err != nil {
		return err
	}
	reply, err := a.ask(ctx, &o.statusOptions, control.Request{Verb: control.Command, Command: text})
	switch {
	case err != nil:
		return err
	case reply.Command == nil:
		return errors.New("the daemon does not say what became of it")
	}
	r := reply.Command
	if o.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else if _, err := io.WriteString(a.stdout, resultText(r, o.read)); err != nil {
		return err
	}
	if r.State != command.Done {
		return &exitError{code: exitFailed}
	}
	return nil
}

// resultText says what became of a command, for people.
func resultText(r *command.Reply, read bool) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %s (%s)", printable(r.Point), r.State, r.Code)
	switch {
	case read && r.State == command.Done:
		fmt.Fprintf(&text, ", %s", printable(string(r.Value)))
	case len(r.Read) == 0 && len(r.Written) > 0:
		fmt.Fprintf(&text, ", written is %s", printable(string(r.Written)))
	case len(r.Read) > 0 && len(r.Old) > 0:
		fmt.Fprintf(&text, ", was %s, is %s", printable(string(r.Old)), printable(string(r.Read)))
	case len(r.Read) > 0:
		fmt.Fprintf(&text, ", is %s", printable(string(r.Read)))
	}
	fmt.Fprintf(&text, ", %d ms", r.TookMS)
	if r.Duplicate {
		text.WriteString(", the earlier result: the id was known")
	}
	if r.Message != "" {
		fmt.Fprintf(&text, "\n  %s", printable(r.Message))
	}
	return text.String() + "\n"
}

func (a *app) newCommandsCommand() *cobra.Command {
	var o statusOptions
	c := &cobra.Command{
		Use:   "commands",
		Short: "List the points that may be written; pause and resume commands",
		Long: `commands lists the points that may be written through the running daemon, with
their limits and what was last done to them.

commands pause stops all commands at once, whoever they come from, until commands
resume, also over a restart. A write that is on a bus is finished.`,
		Example: `  fieldferry commands
  sudo fieldferry commands pause
  sudo fieldferry commands resume`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.commands(c.Context(), o) },
	}
	o.addFlags(c)
	for _, v := range []struct{ name, short, verb, done string }{
		{"pause", "Stop all commands, until resume", control.Pause, "Commands are paused, also after a restart. To end the pause: fieldferry commands resume"},
		{"resume", "End the pause of commands", control.Resume, "Commands are taken again."},
	} {
		var o statusOptions
		sub := &cobra.Command{
			Use:     v.name,
			Short:   v.short,
			Long:    v.short + ". Root and the daemon's user may.",
			Example: "  sudo fieldferry commands " + v.name,
			Args:    cobra.NoArgs,
			RunE: func(c *cobra.Command, _ []string) error {
				_, err := a.ask(c.Context(), &o, control.Request{Verb: v.verb})
				switch {
				case err != nil:
					return err
				case o.json:
					return a.printJSON(map[string]bool{"paused": v.verb == control.Pause})
				}
				_, err = fmt.Fprintln(a.stdout, v.done)
				return err
			},
		}
		o.addFlags(sub)
		c.AddCommand(sub)
	}
	return c
}

func (a *app) commands(ctx context.Context, o statusOptions) error {
	reply, err := a.ask(ctx, &o, control.Request{Verb: control.Status})
	switch {
	case err != nil:
		return err
	case o.json:
		return a.printIndented(reply.Status.Commands)
	case reply.Status.Commands == nil:
		_, err := fmt.Fprintln(a.stdout, "Nothing can be written: the configuration has no commands, or does not enable them.")
		return err
	}
	_, err = io.WriteString(a.stdout, commandsText(reply.Status.Commands))
	return err
}

// commandsText lists the points, for people.
func commandsText(c *live.Commands) string {
	var text strings.Builder
	for _, line := range []struct{ say, of string }{
		{"Paused by %s; fieldferry commands resume\n", c.Paused},
		{"Refused, as they cannot be put on disk: %s\n", c.Fault},
		{"The broker does not let the gateway hear them: %s\n", c.Denied},
	} {
		if line.of != "" {
			fmt.Fprintf(&text, line.say, printable(line.of))
		}
	}
	if c.Suspended {
		text.WriteString("Those of MQTT are suspended: another client has taken the connection over\n")
	}
	if text.Len() > 0 {
		text.WriteString("\n")
	}
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "POINT\tBUS\tWHAT\tRANGE\tLAST\tFALLBACK")
	for i := range c.Points {
		p := &c.Points[i]
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", printable(p.Name), printable(p.Source), printable(p.What), rangeText(p), printable(lastText(p)), printable(fallbackText(p)))
	}
	t.Flush()
	return text.String()
}

func rangeText(p *live.CommandPoint) string {
	switch {
	case p.Switch:
		return "true, false"
	case p.Min == "" && p.Max == "":
		return "-"
	}
	text := p.Min + " to " + p.Max
	if p.Unit != "" {
		text += " " + p.Unit
	}
	if p.Step != "" {
		text += " by " + p.Step
	}
	if p.Rounding {
		text += ", rounded"
	}
	return printable(text)
}

func lastText(p *live.CommandPoint) string {
	switch {
	case p.LastState == "":
		return "-"
	case len(p.LastRead) > 0:
		return fmt.Sprintf("%s %s, is %s", p.LastState, p.LastCode, p.LastRead)
	}
	return fmt.Sprintf("%s %s, %s", p.LastState, p.LastCode, p.LastValue)
}

func fallbackText(p *live.CommandPoint) string {
	switch {
	case p.Fallback == "":
		return "-"
	case p.FellBack:
		return p.Fallback + ", in force"
	case p.FallsIn != nil:
		return p.Fallback + " in " + live.Span(*p.FallsIn)
	}
	return p.Fallback
}
