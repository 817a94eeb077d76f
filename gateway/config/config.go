package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"fieldferry/buffer"
	"fieldferry/bus/can"
	"fieldferry/bus/can/dbc"
	"fieldferry/bus/modbus"
	"fieldferry/gateway/web"
)

// Config is a checked configuration with nothing left to default.
type Config struct {
	Gateway Gateway
	Log     Log
	CAN     []CAN
	Modbus  []modbus.LineConfig
	Buffer  buffer.Config
	Uplink  Uplink
	Web     web.Config // how it can be looked into; the zero value: not at all
	// Commands is what may be done to the buses; the zero value: nothing.
	Commands Commands
	// Remote is what of it may be changed from afar; the zero value: nothing.
	Remote Remote

	file     string
	folder   string // with the rest of its files
	sections sections
	places   map[string]place
	text     Secret // of all its files, as they were read
	files    []File
	copies   map[string]string // see Options.Parts
}

// Gateway is what identifies this device.
type Gateway struct {
	_ [0]func() // nobody compares them: saves the code for it

	ID string // one level of a topic; default: the host name
	// TrustClock takes the machine's clock for right whatever the kernel says.
	TrustClock bool
	// HealthInterval is how often each source puts a health record into its
	// stream; 0: never.
	HealthInterval time.Duration
}

// Log is how the daemon's log is written, unless its flags say something else.
type Log struct {
	Level  string // "debug", "info", "warn" or "error"
	Format string // "text" or "json"
}

// CAN is one CAN source.
type CAN struct {
	Name string // source name; default: the interface
	Bus  can.Config
	DBC  *dbc.Database // describes the frames; nil: nothing does
	// DecodedOnly sends only frames that DBC describes, without their data.
	DecodedOnly bool
}

// Uplink is the broker and how it is used. The files it names are read again
// at every connection, by [Uplink.ReadPassword] and [Uplink.TLSConfig].
type Uplink struct {
	Servers      []string // URLs, tried in order
	ClientID     string   // default: the gateway's id
	Username     string
	Password     Secret // when not in PasswordFile
	PasswordFile string
	TLS          *TLS // nil: the system's roots, no client certificate
	Headers      []Header
	Proxy        Secret // URL of an HTTP proxy, or "environment"; empty: none
	KeepAlive    time.Duration
	AckTimeout   time.Duration
	Topic        string // template with {gateway} {source} {device} {id} {name}
	Batch        Batch
	InFlight     int    // messages that may wait for their PUBACK
	Format       string // "json"
	Compress     string // "none", "gzip" or "zstd"
	Protocol     string // "3.1.1" or "5"
	// VerifyPublish says what is made sure of at every connect; default: the
	// status, but with a preset that has no use for it nothing.
	VerifyPublish Verification
	MaxRate       int64 // bytes a second; 0: no limit
	MaxMessages   int   // messages a second; 0: no limit
	Backlog       Backlog
}

// Verification is how far it is made sure that the broker lets the gateway
// publish, in the words of the file.
type Verification string

// The verifications.
const (
	VerifyNothing Verification = "false"
	VerifyStatus  Verification = "true"   // the status message has to come back
	VerifyTopics  Verification = "topics" // and every topic that does not send its first message back is named
)

// Backlog says how what an outage has left is sent beside live data.
type Backlog struct {
	_ [0]func() // nobody compares them: saves the code for it

	Share   float64 // of the link, when live data alone would fill it; 0.01 to 0.99
	MaxRate int64   // bytes a second; 0: no limit
	Order   string  // "oldest_first" or "newest_first"
}

// Batch says when records are sent together: whichever limit is met first.
type Batch struct {
	MaxRecords int
	MaxDelay   time.Duration
	MaxBytes   int64
}

// Options are the parts of the surroundings a configuration depends on.
type Options struct {
	// Set are overrides "path=value", applied in order.
	Set []string
	// Getenv looks up a variable for ${VAR}; nil: no variable is set.
	Getenv func(string) (string, bool)
	// Base is where relative paths begin; empty: the file's directory.
	Base string
	// Hostname is the gateway's id when the file has none.
	Hostname string
	// DiskSize returns the bytes of the file system that holds path, which
	// may not exist yet; nil: asked of the kernel.
	DiskSize func(path string) (int64, error)
	// SerialDir is where udev has links to serial ports; "" means /dev/serial.
	SerialDir string
	// Strict takes a DBC file with a faulty statement for an error.
	Strict bool
	// Details reports everything odd in DBC files, not just how much.
	Details bool
	// Parts are where copies of files are that are to be read in the place of
	// those the configuration names, by the absolute names of these; nil: none.
	// A template that has no copy is one of fieldferry's own.
	Parts map[string]string
	// Now is the time certificates are judged by; zero: not judged.
	Now time.Time
	// Refused, if not nil, is called with a configuration that has errors, as far
	// as it could be read: it names its files, and is of no other use.
	Refused func(*Config)

	bounds func(path string, at, beyond []string) // a test hears the bounds of every key that is read
}

// Load reads and checks the file at path. It returns nil and at least one
// error, or a configuration and possibly warnings; problems stand in the order
// of the file.
func Load(path string, opts Options) (*Config, []Problem) {
	l := newLoader(path, opts)
	data, info, err := readRegular(path, maxFileSize)
	if err != nil {
		what, fix := fileTrouble("the configuration", err)
		if errors.Is(err, fs.ErrPermission) {
			fix = "use sudo, or " + fix
		}
		return nil, []Problem{{File: path, What: what, Fix: fix}}
	}
	s := &site{files: []siteFile{{data: data, public: info.Mode().Perm()&0o004 != 0}}}
	s.addFolder(l.folder())
	if HasErrors(s.problems) {
		return nil, s.problems
	}
	l.site, l.foreign, l.files = s, s.problems, s.list(l.folder())
	return l.load(s.text())
}

// Parse is [Load] for a configuration that is already read. Relative paths
// are relative to the directory of name.
func Parse(name string, data []byte, opts Options) (*Config, []Problem) {
	l := newLoader(name, opts)
	if len(data) > maxFileSize {
		what, fix := fileTrouble("the configuration", errTooBig{maxFileSize})
		return nil, []Problem{{File: name, What: what, Fix: fix}}
	}
	return l.load(data)
}

func newLoader(name string, opts Options) *loader {
	if opts.Getenv == nil {
		opts.Getenv = func(string) (string, bool) { return "", false }
	}
	if opts.DiskSize == nil {
		opts.DiskSize = diskSize
	}
	if opts.SerialDir == "" {
		opts.SerialDir = "/dev/serial"
	}
	return &loader{file: name, dir: cmp.Or(opts.Base, filepath.Dir(name)), opts: opts, places: map[string]place{}}
}

func (l *loader) load(data []byte) (*Config, []Problem) {
	var cfg *Config
	if root := l.tree(data); root != nil {
		for _, s := range l.opts.Set {
			l.override(root, s)
		}
		cfg = l.config(value{l, "", root, true})
	}
	if !HasErrors(l.problems) && !HasErrors(l.foreign) {
		l.leaves(cfg)
	}
	if HasErrors(l.problems) || HasErrors(l.foreign) {
		if cfg != nil && l.opts.Refused != nil {
			cfg.files = l.files
			l.opts.Refused(cfg)
		}
		return nil, l.settled()
	}
	for i := range cfg.Modbus {
		path := fmt.Sprintf("modbus[%d]", i)
		for _, warning := range modbus.Plan(cfg.Modbus[i]).Warnings {
			what, fix, _ := strings.Cut(warning, "; ")
			l.problems = append(l.problems, cfg.problem(path, what, fix, true))
		}
	}
	cfg.text, cfg.files, cfg.copies = NewSecret(string(data)), l.files, l.opts.Parts
	return cfg, l.settled()
}

// Text returns the file as it was read, with those of its folder as [ReadSite]
// does, without what overrides it. It may have secrets in it.
func (c *Config) Text() []byte { return []byte(c.text.Reveal()) }

func (l *loader) config(root value) *Config {
	const start = "begin with gateway:, can: or modbus:, and uplink:"
	if root.n.kind == nothing {
		l.failAt(place{1, 1}, "", "nothing configured: the file is empty or holds only comments", start)
		return nil
	}
	if root.n.kind != object {
		root.fail(map[kind]string{list: "the top level is a list", scalar: "the top level is a single value"}[root.n.kind]+", not keys", start)
		return nil
	}
	root.expandAll()
	f := root.fields("gateway", "log", "can", "modbus", "templates", "buffer", "uplink", "web", "commands", "remote_config")
	cfg := &Config{file: l.file, places: l.places, sections: l.sections, folder: l.folder()}
	cfg.Gateway = l.gateway(f.at("gateway"))
	logs := f.at("log").fields("level", "format")
	cfg.Log = Log{Level: logs.at("level").choice("info", "debug", "warn", "error"), Format: logs.at("format").choice("text", "json")}
	sources := sources{}
	cfg.CAN = l.can(f.at("can"), sources)
	l.templates = f.at("templates").file("")
	f.at("templates").names(l.templates, FileDir)
	cfg.Modbus = l.modbus(f.at("modbus"), sources)
	if !f.at("can").has && !f.at("modbus").has {
		l.failAt(place{1, 1}, "", "nothing configured to read", "add can: or modbus:")
	}
	cfg.Buffer = l.buffer(f.at("buffer"))
	cfg.Web = l.web(f.at("web"), cfg)
	cfg.Commands = l.commands(f.at("commands"), cfg)
	cfg.Remote = l.remote(f.at("remote_config"))
	l.checkRemote(f.at("remote_config"), cfg)
	if up := f.at("uplink"); up.has {
		cfg.Uplink = l.uplink(up, cfg.Gateway)
	} else {
		l.failAt(place{1, 1}, "uplink", "is missing", `add uplink: {servers: ["mqtt://HOST"]}`)
	}
	return cfg
}

// Same says whether two configurations mean the same to a gateway. How the files
// are written does not matter, and neither does the log, which is the daemon's;
// what other files they take in does.
func (c *Config) Same(other *Config) bool {
	a, b := *c, *other
	a.places, b.places = nil, nil
	a.Log, b.Log = Log{}, Log{}
	a.text, b.text = Secret{}, Secret{}
	a.sections, b.sections = nil, nil
	a.files, b.files, a.copies, b.copies = nil, nil, nil, nil
	return reflect.DeepEqual(a, b)
}

// Problem returns a problem that stands where path, or what is around it, is
// written; for checks made after loading. Paths are as in [Problem].Path.
func (c *Config) Problem(path, what, fix string, warning bool) Problem {
	return c.sections.place(c.file, c.folder, c.problem(path, what, fix, warning))
}

// problem is Problem with the line in the text of all files.
func (c *Config) problem(path, what, fix string, warning bool) Problem {
	p := Problem{File: c.file, Path: path, What: what, Fix: fix, Warning: warning}
	for {
		if at, ok := c.places[path]; ok && at.line > 0 {
			p.Line, p.Col = at.line, at.col
			return p
		}
		cut := strings.LastIndexAny(path, ".[")
		if cut < 0 {
			return p
		}
		path = path[:cut]
	}
}

// resolve makes a path of the file absolute or relative to the working
// directory instead of to the file.
func (l *loader) resolve(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(l.dir, path)
}

// file returns a file name, resolved.
func (v value) file(def string) string {
	return v.l.resolve(v.text(def))
}
