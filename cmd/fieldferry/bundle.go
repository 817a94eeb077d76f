package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"fieldferry/buffer"
	"fieldferry/gateway/bundle"
	"fieldferry/gateway/config"
	"fieldferry/gateway/control"
	"fieldferry/gateway/live"
	"fieldferry/gateway/web"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

type bundleOptions struct {
	config configOptions
	out    string
	mask   bool
	buffer string // its directory; empty: not known
}

func (a *app) newBundleCommand() *cobra.Command {
	var o bundleOptions
	c := &cobra.Command{
		Use:   "bundle",
		Short: "Gather what somebody needs who is to help from afar",
		Long: `bundle writes a .tar.gz with the version, the configuration without its secrets,
what check says, the state of the running daemon twice, its log, what is in the
buffer (no records), and the state of interfaces and serial ports.

A part that cannot be had is named in its MANIFEST. Look through it before you
send it on. The exit code is 1 when a part is missing.`,
		Example: `  sudo fieldferry bundle
  sudo fieldferry bundle --mask -o site7.tar.gz`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return a.bundle(c.Context(), o) },
	}
	o.config.addFlags(c)
	c.Flags().StringVarP(&o.out, "output", "o", "", "`FILE` to write; default fieldferry-bundle-TIME.tar.gz, - for standard output")
	c.Flags().BoolVar(&o.mask, "mask", false, "replace addresses, host names and the gateway's id, the same by the same")
	return c
}

func (a *app) bundle(ctx context.Context, o bundleOptions) (err error) {
	asked := o.config // of a broken file the directory of the buffer is enough to ask the daemon
	var refused *config.Config
	asked.refused = func(c *config.Config) { refused, o.buffer = c, c.Buffer.Dir }
	cfg, problems := a.loadQuietly(asked)
	if cfg != nil {
		o.buffer = cfg.Buffer.Dir
	}
	out := exact(a.stdout)
	name := o.out
	if name == "" {
		name = "fieldferry-bundle-" + time.Now().Format("20060102-150405") + ".tar.gz"
	}
	if name != "-" {
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	parts := a.commonParts(o.config, cfg, problems)
	parts = append(parts, bundle.Part{Name: "status.jsonl", Write: func(ctx context.Context, w io.Writer) error {
		return a.statusTwice(ctx, w, o.buffer)
	}}, output("journal.txt", journalEntry, "journalctl", "-u", "fieldferry", "-n", "2000", "--no-pager", "-o", "short-iso"),
		output("unit.txt", unitLoaded, "systemctl", "status", "--no-pager", "-n", "0", "fieldferry"))
	failed := bundle.Write(ctx, out, parts, maskOf(cmp.Or(cfg, refused), o.mask))
	if name != "-" {
		fmt.Fprintf(a.stdout, "%s: look through it before you send it on\n", name)
	}
	if failed != nil {
		for line := range strings.SplitSeq(failed.Error(), "\n") {
			a.warn("not in the bundle: %s", line)
		}
		return &exitError{code: exitFailed}
	}
	return nil
}

// pause lies between the two looks at a running daemon: figures that grow show
// themselves.
const bundlePause = 10 * time.Second

// statusTwice asks the running daemon for its state, and once more later.
func (a *app) statusTwice(ctx context.Context, w io.Writer, buffer string) error {
	path := packagedSocket
	if buffer != "" {
		var err error
		if path, err = a.controlSocket(buffer); err != nil {
			return err
		}
	}
	for n := range 2 {
		if n > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(bundlePause):
			}
		}
		reply, err := control.Ask(ctx, path, control.Request{Verb: control.Status})
		if err != nil {
			return noStatus(path, err)
		}
		if err := json.NewEncoder(w).Encode(reply.Status); err != nil {
			return err
		}
	}
	return nil
}

// commonParts are what the verb and the page both gather.
func (a *app) commonParts(o configOptions, cfg *config.Config, problems []config.Problem) []bundle.Part {
	parts := []bundle.Part{
		{Name: "version.json", Write: func(_ context.Context, w io.Writer) error {
			return json.NewEncoder(w).Encode(readVersion())
		}},
		{Name: "system.txt", Write: writeSystem},
		{Name: "config.yaml", Write: func(_ context.Context, w io.Writer) error {
			text, unread := config.ReadSite(o.path)
			_, err := w.Write(config.Redact(text))
			return errors.Join(unread, err)
		}},
		{Name: "check.txt", Write: func(_ context.Context, w io.Writer) error {
			for _, p := range problems {
				fmt.Fprintln(w, string(config.Redact([]byte(p.String()))))
			}
			return nil
		}},
		{Name: "links.txt", Write: writeLinks},
	}
	if cfg != nil {
		parts = append(parts, bundle.Part{Name: "buffer.json", Write: func(_ context.Context, w io.Writer) error {
			report, err := buffer.Inspect(cfg.Buffer.Dir, nil)
			if err != nil {
				return err
			}
			return json.NewEncoder(w).Encode(report)
		}})
	}
	return parts
}

// maskOf says what is taken out of every part.
func maskOf(cfg *config.Config, mask bool) bundle.Options {
	o := bundle.Options{Now: time.Now()}
	if mask {
		o.Mask = map[string]string{}
		if name, err := os.Hostname(); err == nil {
			o.Hosts = append(o.Hosts, name)
		}
	}
	if cfg == nil {
		return o
	}
	o.Secrets = append(o.Secrets, cfg.Uplink.Password.Reveal())
	if proxy, err := url.Parse(cfg.Uplink.Proxy.Reveal()); err == nil && proxy.User != nil {
		password, _ := proxy.User.Password()
		o.Secrets = append(o.Secrets, proxy.User.Username(), password)
	}
	if headers, err := cfg.Uplink.ReadHeaders(); err == nil {
		for _, values := range headers {
			o.Secrets = append(o.Secrets, values...)
		}
	}
	if p, err := cfg.Uplink.ReadPassword(); err == nil {
		o.Secrets = append(o.Secrets, p)
	}
	if !mask {
		return o
	}
	o.Mask = map[string]string{cfg.Gateway.ID: "gateway", cfg.Uplink.Username: "user", cfg.Uplink.ClientID: "client"}
	o.Hosts = append(append(append(o.Hosts, cfg.Web.Hosts...), cfg.Uplink.Servers...), cfg.Uplink.Proxy.Reveal())
	if t := cfg.Uplink.TLS; t != nil {
		o.Hosts = append(o.Hosts, t.ServerName)
	}
	for i := range cfg.Modbus {
		o.Hosts = append(o.Hosts, cfg.Modbus[i].Port)
	}
	return o
}

func writeSystem(_ context.Context, w io.Writer) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	text := func(b []byte) string { return string(bytes.TrimRight(b, "\x00")) }
	fmt.Fprintf(w, "kernel %s %s %s\n", text(u.Sysname[:]), text(u.Release[:]), text(u.Machine[:]))
	fmt.Fprintf(w, "time %s\n", time.Now().Format(time.RFC3339))
	for _, file := range []string{"/etc/os-release", "/proc/uptime", "/proc/loadavg", "/proc/meminfo", "/proc/mounts"} {
		b, err := os.ReadFile(file)
		fmt.Fprintf(w, "\n== %s\n%s", file, b)
		if err != nil {
			fmt.Fprintln(w, err)
		}
	}
	return nil
}

// writeLinks is what the kernel says of interfaces and serial ports.
func writeLinks(_ context.Context, w io.Writer) error {
	b, err := os.ReadFile("/proc/net/dev")
	fmt.Fprintf(w, "== /proc/net/dev\n%s", b)
	for _, pattern := range []string{"/sys/class/net/*/operstate", "/sys/class/net/*/type", "/proc/tty/driver/*"} {
		files, _ := filepath.Glob(pattern)
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				b = []byte(err.Error())
			}
			fmt.Fprintf(w, "\n== %s\n%s\n", f, bytes.TrimSpace(b))
		}
	}
	links, _ := filepath.Glob("/dev/serial/by-id/*")
	fmt.Fprintf(w, "\n== /dev/serial/by-id\n%s\n", strings.Join(links, "\n"))
	return err
}

// What journalctl and systemctl write only if there is something to say of the
// service; their exit codes do not tell. Their words can be of another language.
const (
	journalEntry = "]: "
	unitLoaded   = "Loaded: "
)

var errNotOfSystemd = errors.New("systemd has nothing of fieldferry.service, or does not show it to this user; a daemon that was started by hand writes its log to its own standard error")

// output is a part that a program of the system writes, with something that
// stands in it if it succeeds.
func output(name, proof, program string, args ...string) bundle.Part {
	return bundle.Part{Name: name, Write: func(ctx context.Context, w io.Writer) error {
		said := &proving{w: w, proof: proof}
		err := runProgram(ctx, said, said, program, args...)
		if err == nil && !said.is {
			err = errNotOfSystemd
		}
		return err
	}}
}

// proving passes on what is written, and looks for a text in it.
type proving struct {
	_ [0]func() // nobody compares them: saves the code for it

	w     io.Writer
	proof string
	is    bool
}

func (p *proving) Write(b []byte) (int, error) {
	p.is = p.is || bytes.Contains(b, []byte(p.proof))
	return p.w.Write(b)
}

// liveParts are what only the daemon itself has.
func liveParts(v web.View, logs *live.Logs, data bool) []bundle.Part {
	parts := []bundle.Part{
		{Name: "status.jsonl", Write: func(ctx context.Context, w io.Writer) error {
			for n := range 2 {
				if n > 0 {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(bundlePause):
					}
				}
				if err := json.NewEncoder(w).Encode(v.Snapshot()); err != nil {
					return err
				}
			}
			return nil
		}},
		{Name: "alarms.json", Write: func(_ context.Context, w io.Writer) error { return json.NewEncoder(w).Encode(v.LastNotes()) }},
		{Name: "disconnects.json", Write: func(_ context.Context, w io.Writer) error { return json.NewEncoder(w).Encode(v.LastDisconnects()) }},
		{Name: "log.txt", Write: func(_ context.Context, w io.Writer) error {
			for _, l := range logs.Since(0) {
				fmt.Fprintf(w, "%s %-5s %s\n", l.Time.Format(time.RFC3339Nano), l.Level, l.Text)
			}
			return nil
		}},
		{Name: "goroutines.txt", Write: func(_ context.Context, w io.Writer) error {
			stacks := make([]byte, 2<<20)
			_, err := w.Write(stacks[:runtime.Stack(stacks, true)])
			return err
		}},
		{Name: "heap.txt", Write: func(_ context.Context, w io.Writer) error { return writeHeap(w) }},
	}
	if s := v.Snapshot(); s != nil && data {
		for i := range s.Sources {
			parts = append(parts, dataPart(v, &s.Sources[i]))
		}
	}
	return parts
}

// dataPart is what was on one bus last.
func dataPart(v web.View, src *live.Source) bundle.Part {
	name := fmt.Sprintf("data-%s.txt", strings.Map(func(r rune) rune {
		if r == '/' || r < ' ' || r > '~' {
			return '_'
		}
		return r
	}, src.Name))
	return bundle.Part{Name: name, Write: func(_ context.Context, w io.Writer) error {
		if b, ok := v.Bus(src.Name); ok {
			var last [][]byte
			b.Log(src.Name, time.Time{}, func(line []byte) bool {
				if last = append(last, bytes.Clone(line)); len(last) > 100 {
					last = last[1:]
				}
				return true
			})
			_, err := w.Write(bytes.Join(last, nil))
			return err
		}
		if l, ok := v.Line(src.Name); ok {
			return json.NewEncoder(w).Encode(l.Exchanges())
		}
		return nil
	}}
}
