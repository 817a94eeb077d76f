package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"fieldferry/gateway/config"
	"fieldferry/gateway/ledger"
	"fieldferry/uplink"

	"github.com/spf13/cobra"
)

type watchOptions struct {
	config                                configOptions
	configured                            bool // the servers are those of the configuration
	server, topic, username, passwordFile string
	tls                                   config.TLS
	duration                              time.Duration
	records                               uint64
	maxMessage                            int
	asJSON, quiet, fromOne                bool
}

func (a *app) newWatchCommand() *cobra.Command {
	var o watchOptions
	c := &cobra.Command{
		Use:   "watch",
		Short: "Print records as a broker delivers them, and check that none is missing",
		Long: `watch subscribes to a broker, prints every record as it arrives and keeps
account of the sequence numbers. It reports gaps, duplicates and losses, and
ends with "records N gaps G duplicates D": G counts the sequence numbers that
neither came nor are accounted for by a loss record. After an outage live
records come before the backlog, which then fills the gap: until it has, watch
says how many records are still missing. A session that ended badly (power,
kill -9) is named with its last known numbers: what was taken behind them
within sync_interval may be missing, and no loss record can say so.

Records that pass while watch itself has lost its connection are named as unseen
and are not a gap; they are what is missing up to the highest number that anything
says. A session that began after watch did counts from its first number, and
one that was there before from the first number that came. Where nothing says how
far a session went that was watched when the connection was lost, the end of each
source that has not spoken since is named as not known; each puts a health record
into its stream every health_interval.

Messages that are larger than --max-message are skipped and counted. The account
takes a bounded amount of memory, however many gateways there are and whatever
they send: past 4096 streams, or 16384 gaps in one stream, watch says that the
account is no longer exact, and what was left out.

With -c, or where the packaged configuration is and no --server is given, watch
uses the servers, TLS files and credentials of that configuration, and the topics
of its gateway.

The exit code is 0 when watch was connected at the end and nothing is missing. It
is 1 when the broker was not reached or was lost, when there are gaps or records
passed unseen, when the end of a session is not known, when the account is not
exact, and when fewer records came than --count asks for.`,
		Example: `  fieldferry watch --server mqtt://broker:1883
  sudo fieldferry watch -c /etc/fieldferry/fieldferry.yaml
  fieldferry watch --server mqtts://broker:8883 --ca ca.pem --username anna --password-file anna.password
  fieldferry watch --server mqtts://broker:8883 --topic 'fieldferry/gw-01/#' --for 1m --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			o.configured = c.Flags().Changed("config") || o.server == "" && exists(o.config.path)
			return a.watch(c.Context(), o)
		},
	}
	o.config.addFlags(c)
	f := c.Flags()
	f.StringVar(&o.server, "server", "", "broker `URL`, as mqtt://host:1883")
	f.StringVar(&o.topic, "topic", "", "topic `FILTER` to subscribe to; default: fieldferry/#, with -c the topics of that gateway")
	f.StringVar(&o.username, "username", "", "user `NAME`")
	f.StringVar(&o.passwordFile, "password-file", "", "`FILE` with the password")
	f.StringVar(&o.tls.CA, "ca", "", "`FILE` of the authorities that sign the broker's certificate; default: the system's")
	f.StringVar(&o.tls.Cert, "cert", "", "`FILE` of the client certificate")
	f.StringVar(&o.tls.Key, "key", "", "`FILE` of the client certificate's key")
	addFor(f, &o.duration)
	addCount(f, &o.records, "records", "records")
	f.IntVar(&o.maxMessage, "max-message", uplink.DefaultMaxMessage, "skip messages of more than this many `BYTES`, before and after decompression")
	f.BoolVar(&o.fromOne, "from-start", false, "sequence numbers before the first one seen are gaps too")
	f.BoolVar(&o.asJSON, "json", false, "print one JSON object a record, and the summary as JSON")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "print the summary only")
	return c
}

func (a *app) watch(ctx context.Context, o watchOptions) error {
	if o.maxMessage < minWatched || o.maxMessage > maxWatched {
		return usageError("--max-message %d is not between %d and %d", o.maxMessage, minWatched, maxWatched)
	}
	cfg, err := a.subscription(&o)
	if err != nil {
		return err
	}
	old := debug.SetMemoryLimit(-1)
	debug.SetMemoryLimit(min(old, watchMemory))
	defer debug.SetMemoryLimit(old)
	if o.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.duration)
		defer cancel()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watcher{out: a.stdout, err: a.stderr, opts: o, done: cancel}
	cfg.MaxMessage = o.maxMessage
	cfg.Connected = func(s uplink.Server) {
		w.link.up(s)
		a.warn("watching %s on %v", cfg.Topic, s)
		w.silence.begin(func() {
			a.warn("no record for %v; check that the gateway runs, and that this user may read %s at the broker", silentFor, cfg.Topic)
		})
	}
	cfg.Disconnected = func(err error) {
		if w.link.down(err, time.Now()) {
			a.warn("no connection: %v%s; trying again", err, o.flagsFor(err))
		}
	}
	cfg.TooLarge = w.tooLarge
	defer w.silence.end()
	if err := uplink.Subscribe(ctx, cfg, w.message); err != nil {
		return usageError("--server or --topic: %w", err)
	}
	if err := w.summary(); err != nil {
		return err
	}
	return w.verdict()
}

// What --max-message may be. A gateway sends at most 16 MiB.
const (
	minWatched = 1 << 10
	maxWatched = 16<<20 + 1<<16
)

// watchMemory is where the collector works harder: a few messages of the largest
// size are much garbage on a machine with 128 MB.
const watchMemory = 72 << 20

// watcher prints records and keeps the account. Its methods are not called at
// the same time.
type watcher struct {
	out, err io.Writer
	opts     watchOptions
	ledger   ledger.Ledger
	ended    bool
	done     func()
	latency  latency
	catching bool      // something is missing that may come late
	told     time.Time // when that was said
	lateAt   time.Time // when the last record of a backlog came
	absences int       // how often the connection had been lost and was back
	skipped  uint64    // messages that were too large
	inexact  bool      // it was said that the account is
	gateway  string    // the only one so far
	several  bool      // there is more than one
	link     watchedLink
	silence  silence
	says     complaints
}

// catchUpInterval is how often watch says how much is missing yet.
const catchUpInterval = 2 * time.Second

// catchUp tells how the backlog fills what live records have left out.
func (w *watcher) catchUp(late bool, now time.Time) {
	if late {
		w.lateAt = now
	}
	if !late && !w.catching || now.Sub(w.told) < catchUpInterval && w.catching {
		return
	}
	missing, unseen := w.ledger.Absent(w.opts.fromOne)
	missing -= w.ledger.Closed
	// What passed unseen never comes, which shows only when the backlog has ended.
	rest := missing > 0 && (missing > unseen || now.Sub(w.lateAt) < catchUpInterval)
	switch {
	case rest:
		fmt.Fprintf(w.err, "catching up: %d records are still missing\n", missing)
	case w.catching && unseen > 0:
		fmt.Fprintf(w.err, "caught up, except for %d records that may have passed while watch was not connected\n", unseen)
	case w.catching && w.ledger.Unknown() > 0:
		fmt.Fprintln(w.err, "caught up, as far as is known: the end of a session is not")
	case w.catching:
		fmt.Fprintln(w.err, "caught up: nothing is missing")
	}
	w.catching, w.told = rest, now
}

// plausible bounds the latency by a clock that may be wrong: more is not the link's.
const plausible = time.Hour

// latency is the time from a live record's stamp to its arrival here.
type latency struct {
	n        uint64
	sum, max time.Duration
}

func (l *latency) add(d time.Duration) {
	l.n++
	l.sum += d
	l.max = max(l.max, d)
}

func (l *latency) mean() time.Duration {
	if l.n == 0 {
		return 0
	}
	return l.sum / time.Duration(l.n)
}

func (w *watcher) message(topic string, data []byte, retained bool) {
	if w.ended || retained {
		return
	}
	now := time.Now()
	m, err := w.parse(topic, data)
	if err != nil {
		w.complain("unreadable", now, "%s: %v", clipped(topic), err)
	}
	if m == nil {
		return
	}
	w.silence.end()
	w.wasAway()
	w.meet(m.Gateway)
	stream := ledger.Stream{Gateway: m.Gateway, Session: m.Session, Source: m.Source}
	last := w.ledger.Last(stream)
	shared := w.ledger.Shared
	entries, err := w.ledger.Add(m)
	if w.ledger.Shared > shared {
		w.complain("shared", now, "%s session %d is used twice: a copy of the buffer is active, and each number may name two records", m.Gateway, m.Session)
	}
	late := false
	for i, e := range entries {
		late = late || e.Late
		w.record(m, m.Records[i], e, now)
	}
	if err != nil {
		w.complain("unreadable", now, "%s: %v", clipped(topic), err)
	}
	if last > 0 && m.Seq > last+1 && !w.ledger.Seen(stream, m.Seq-1) {
		w.complain("gap", now, "%s session %d: %d to %d have not come yet", w.name(m.Gateway, m.Source), m.Session, last+1, m.Seq-1)
	}
	if !w.inexact && !w.ledger.Exact() {
		w.inexact = true
		fmt.Fprintf(w.err, "the account is no longer exact: there are more streams or gaps than it keeps; the summary says what was left out\n")
	}
	w.catchUp(late, now)
	if w.opts.records > 0 && w.ledger.Records >= w.opts.records {
		w.ended = true
		w.done()
	}
}

// wasAway has the account know of an absence that is over.
func (w *watcher) wasAway() {
	if n := w.link.absences(); n > w.absences {
		w.absences = n
		w.ledger.Away()
	}
}

// parse reads a message; nil: it has no records.
func (w *watcher) parse(topic string, data []byte) (*ledger.Message, error) {
	data, err := uplink.ExpandWithin(data, cmp.Or(w.opts.maxMessage, uplink.DefaultMaxMessage))
	if errors.Is(err, uplink.ErrExpanded) {
		w.skipped++
	}
	if err != nil {
		return nil, err
	}
	m, err := ledger.Parse(data)
	if err != nil && (strings.HasSuffix(topic, "/status") || strings.HasSuffix(topic, "/meta")) {
		return nil, nil
	}
	return m, err
}

// tooLarge is told of a message that was skipped.
func (w *watcher) tooLarge(topic string, size int) {
	w.skipped++
	w.complain("large", time.Now(), "%s: skipped a message of %d bytes; --max-message is %d. Its records count as missing", clipped(topic), size, w.opts.maxMessage)
}

// record prints one record.
func (w *watcher) record(m *ledger.Message, raw json.RawMessage, e ledger.Entry, now time.Time) {
	if d := now.Sub(e.Time); !e.Duplicate && !e.Late && e.Type != "loss" && (e.Clock != "unsynced" || d.Abs() < plausible) {
		w.latency.add(d)
	}
	if w.opts.quiet {
		return
	}
	if w.opts.asJSON {
		_ = json.NewEncoder(w.out).Encode(struct {
			Gateway   string          `json:"gateway"`
			Session   uint64          `json:"session"`
			Source    string          `json:"source"`
			Duplicate bool            `json:"duplicate,omitempty"`
			Record    json.RawMessage `json:"record"`
		}{m.Gateway, m.Session, m.Source, e.Duplicate, raw})
		return
	}
	mark := ""
	if e.Late {
		mark = "  (late)"
	}
	if e.Duplicate {
		mark = "  (again)"
	}
	if e.Clock != "" {
		mark += "  (clock " + printable(clipped(e.Clock)) + ")"
	}
	fmt.Fprintf(w.out, "%s  %-12s %3d/%-8d %s%s\n", e.Time.Local().Format("15:04:05.000"), w.name(m.Gateway, m.Source), m.Session, e.Seq, describe(raw, e), mark)
}

func (w *watcher) summary() error {
	w.says.flush(w.err)
	w.wasAway()
	l := &w.ledger
	missing, unseen := l.Absent(w.opts.fromOne)
	missing -= unseen
	if w.opts.asJSON {
		return json.NewEncoder(w.out).Encode(map[string]any{
			"records": l.Records, "gaps": missing, "unseen": unseen, "duplicates": l.Duplicates, "lost": l.Lost,
			"unclean": len(l.Tails()), "unknown_ends": l.Unknown(), "shared": l.Shared,
			"exact": l.Exact() && w.skipped == 0, "skipped_messages": w.skipped,
			"closed": l.Closed, "untracked": l.Untracked, "forgotten": l.Forgotten,
			"latency_mean_ms": w.latency.mean().Milliseconds(), "latency_max_ms": w.latency.max.Milliseconds(),
		})
	}
	gaps := l.Gaps(w.opts.fromOne)
	for _, g := range gaps[:min(len(gaps), maxListed)] {
		what := "gap"
		if g.Unseen {
			what = "unseen"
		}
		fmt.Fprintf(w.out, "%s: %s session %d: %d to %d\n", what, w.name(g.Gateway, g.Source), g.Session, g.From, g.To)
	}
	if more := len(gaps) - maxListed; more > 0 {
		fmt.Fprintf(w.out, "and %d more gaps\n", more)
	}
	for _, x := range l.Tails() {
		if x.Unseen {
			fmt.Fprintf(w.out, "end of session %d of %s not known: any number behind %d may have passed while watch was not connected\n", x.Session, w.name(x.Gateway, x.Source), x.Last)
			continue
		}
		fmt.Fprintf(w.out, "bad end: %s session %d: what was taken within sync_interval behind %d may be missing\n", w.name(x.Gateway, x.Source), x.Session, x.Last)
	}
	w.bounds()
	if l.Shared > 0 {
		fmt.Fprintf(w.out, "sessions used twice: %d\n", l.Shared)
	}
	if l.Lost > 0 {
		fmt.Fprintf(w.out, "accounted for by loss records: %d\n", l.Lost)
	}
	if unseen > 0 {
		fmt.Fprintf(w.out, "unseen: %d records may have passed while watch was not connected (%d times)\n", unseen, w.absences)
	}
	if w.latency.n > 0 {
		fmt.Fprintf(w.out, "latency of live records: mean %v, highest %v\n", w.latency.mean().Round(time.Millisecond), w.latency.max.Round(time.Millisecond))
	}
	fmt.Fprintf(w.out, "records %d gaps %d duplicates %d\n", l.Records, missing, l.Duplicates)
	return nil
}

// maxListed is how many gaps the summary lists.
const maxListed = 1000

// bounds says what the account has left out.
func (w *watcher) bounds() {
	for _, x := range []struct {
		n    uint64
		text string
	}{
		{w.skipped, "messages were larger than --max-message and skipped; their records count as missing, if anything behind them came"},
		{w.ledger.Closed, "numbers of old gaps were given up: they count as missing, and as duplicates if they came later"},
		{w.ledger.Untracked, "records came from streams past the first 4096, of which no account is kept"},
		{w.ledger.Forgotten, "facts on how sessions ended were left out"},
	} {
		if x.n > 0 {
			fmt.Fprintf(w.out, "no longer exact: %d %s\n", x.n, x.text)
		}
	}
}
