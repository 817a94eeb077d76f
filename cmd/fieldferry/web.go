package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"fieldferry/gateway/statedir"
	"fieldferry/gateway/web"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func (a *app) newWebCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "web",
		Short: "Make and remove the accounts of the page and the API",
		Long: `web keeps the accounts by which people and programs look into a gateway, in
buffer.path of the configuration. A running daemon sees a change within a second.
Nothing listens unless the configuration has the block web:.`,
	}
	c.AddCommand(a.newWebPasswordCommand(), a.newWebTokenCommand(), a.newWebListCommand(), a.newWebRemoveCommand())
	return group(c)
}

// webFiles are where the accounts of a configuration are kept.
func (a *app) webFiles(o configOptions) (statedir.Dir, error) {
	cfg, err := a.load(o)
	if err != nil {
		return statedir.Dir{}, err
	}
	return statedir.In(cfg.Buffer.Dir), nil
}

func (a *app) newWebPasswordCommand() *cobra.Command {
	var o configOptions
	var role string
	c := &cobra.Command{
		Use:   "password NAME",
		Short: "Set the password of a person, who is made if new",
		Long: `password asks for a password on a terminal, or reads one line of standard input.
It is kept as a hash only. Setting it again ends the sessions of that person.`,
		Example: "  sudo fieldferry web password anna --role admin",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := web.ParseRole(role)
			if err != nil {
				return usageError("--role: %w", err)
			}
			files, err := a.webFiles(o)
			if err != nil {
				return err
			}
			password, err := a.askPassword()
			if err != nil {
				return err
			}
			if err := web.SetPassword(files, args[0], password, r, time.Now()); err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s may log in, with the role %s\n", args[0], r)
			return nil
		},
	}
	o.addFlags(c)
	c.Flags().StringVar(&role, "role", string(web.Admin), "what the account may do: read, operate or admin, `ROLE`")
	return c
}

func (a *app) newWebTokenCommand() *cobra.Command {
	var o configOptions
	var scope string
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "token NAME",
		Short: "Make a token for a program, and print it once; one of that name is replaced",
		Example: `  sudo fieldferry web token prometheus --scope read
  curl -H "Authorization: Bearer ff_..." http://127.0.0.1:8090/api/v1/status`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			r, err := web.ParseRole(scope)
			if err != nil {
				return usageError("--scope: %w", err)
			}
			files, err := a.webFiles(o)
			if err != nil {
				return err
			}
			token, err := web.NewToken(files, args[0], r, ttl, time.Now())
			if err != nil {
				return err
			}
			fmt.Fprintln(a.stdout, token)
			return nil
		},
	}
	o.addFlags(c)
	c.Flags().StringVar(&scope, "scope", string(web.Read), "what the token may do: read, operate or admin, `SCOPE`")
	c.Flags().DurationVar(&ttl, "ttl", 0, "how long it holds, such as 720h; 0: until it is removed, `TIME`")
	return c
}

func (a *app) newWebListCommand() *cobra.Command {
	var o configOptions
	var asJSON bool
	c := &cobra.Command{
		Use:     "accounts",
		Aliases: []string{"list"},
		Short:   "List who may log in",
		Example: "  sudo fieldferry web accounts --json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			files, err := a.webFiles(o)
			if err != nil {
				return err
			}
			list, err := web.Accounts(files)
			if err != nil {
				return err
			}
			if asJSON {
				return a.accountsJSON(list)
			}
			t := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "NAME\tKIND\tROLE\tMADE\tEXPIRES")
			for _, c := range list {
				kind, expires := "person", "never"
				if c.Token != "" {
					kind = "program"
				}
				if !c.Expires.IsZero() {
					expires = c.Expires.Format(time.DateOnly)
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", c.Name, kind, c.Role, c.Made.Format(time.DateOnly), expires)
			}
			return t.Flush()
		},
	}
	o.addFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	return c
}

// accountJSON is an account for machines.
type accountJSON struct {
	_ [0]func() // nobody compares them: saves the code for it

	Name    string     `json:"name"`
	Kind    string     `json:"kind"`
	Role    web.Role   `json:"role"`
	Made    time.Time  `json:"made"`
	Expires *time.Time `json:"expires,omitempty"`
}

func (a *app) accountsJSON(list []web.Account) error {
	out := []accountJSON{}
	for _, c := range list {
		j := accountJSON{Name: c.Name, Kind: "person", Role: c.Role, Made: c.Made}
		if c.Token != "" {
			j.Kind = "program"
		}
		if !c.Expires.IsZero() {
			j.Expires = &c.Expires
		}
		out = append(out, j)
	}
	return a.printIndented(out)
}

func (a *app) newWebRemoveCommand() *cobra.Command {
	var o configOptions
	c := &cobra.Command{
		Use:     "remove NAME",
		Short:   "Remove an account; its sessions end",
		Example: "  sudo fieldferry web remove anna",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			files, err := a.webFiles(o)
			if err != nil {
				return err
			}
			return web.Remove(files, args[0])
		},
	}
	o.addFlags(c)
	return c
}

// askPassword reads a password: twice and unseen from a terminal, or one line.
func (a *app) askPassword() (string, error) {
	f, ok := a.stdin.(*os.File)
	if !ok || !isTerminal(f) {
		line, err := bufio.NewReader(io.LimitReader(a.stdin, 2*web.MaxPassword)).ReadString('\n')
		if err != nil && (err != io.EOF || line == "") {
			return "", errors.New("no password on standard input")
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	restore, err := hideInput(int(f.Fd()))
	if err != nil {
		return "", err
	}
	defer restore()
	in := bufio.NewReader(f)
	var answers [2]string
	for i, prompt := range []string{"Password: ", "Once more: "} {
		fmt.Fprint(a.stderr, prompt)
		line, err := in.ReadString('\n')
		fmt.Fprintln(a.stderr)
		if err != nil {
			return "", err
		}
		answers[i] = strings.TrimRight(line, "\r\n")
	}
	if answers[0] != answers[1] {
		return "", errors.New("the two passwords differ; nothing was changed")
	}
	return answers[0], nil
}

// hideInput stops a terminal from showing what is typed.
func hideInput(fd int) (restore func(), err error) {
	was, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, err
	}
	hidden := *was
	hidden.Lflag &^= unix.ECHO
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &hidden); err != nil {
		return nil, err
	}
	return func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, was) }, nil
}
