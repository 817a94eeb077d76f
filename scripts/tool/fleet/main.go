// Command fleet runs many gateways in this process against one broker or
// cluster, takes the broker away and gives it back, and prints how they fare:
// rates, memory and CPU time per gateway, and how their returns spread over time.
// docs/scaling.md has runs of it.
//
//	fleet [-n 100] [-rate 10] [-for 20s] [-away 10s] [-json]
//	      [-server URL,URL... | -cluster]
//
// # Nouns
//
// A gateway is the whole of fieldferry but its command line: a simulated CAN
// bus, a buffer of its own, an uplink. Without -server and -cluster the broker
// is a mosquitto of its own, which is killed and started again after -away;
// with -cluster it is scripts/test/cluster, where a node is killed. A broker given
// by its URL is left alone.
//
// # Caveats
//
// Memory per gateway is what one more gateway takes in this process; a daemon
// has the Go runtime and its own code besides. The buffers are in memory
// (/dev/shm): a thousand gateways have a thousand cards, this machine has one
// disk. CPU time is that of the gateways alone.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options are what the flags say.
type options struct {
	n      int           // gateways
	rate   int           // records a second of each
	during time.Duration // how long the steady state is measured
	away   time.Duration // how long the broker is
	limit  time.Duration // for everybody to connect, or to come back
}

func main() {
	o := options{limit: 2 * time.Minute}
	flag.IntVar(&o.n, "n", 100, "gateways")
	flag.IntVar(&o.rate, "rate", 10, "records a second of each gateway")
	flag.DurationVar(&o.during, "for", 20*time.Second, "how long the steady state is measured")
	flag.DurationVar(&o.away, "away", 10*time.Second, "how long the broker is away")
	server := flag.String("server", "", "URLs of a broker, separated by commas; it is not restarted")
	cluster := flag.Bool("cluster", false, "start a cluster of three NATS servers (scripts/test/cluster), and kill a node")
	asJSON := flag.Bool("json", false, "print JSON")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, *server, *cluster, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, server string, cluster, asJSON bool) error {
	if o.n < 1 || o.rate < 1 {
		return errors.New("-n and -rate must be at least 1")
	}
	if err := manyFiles(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(shm(), "fieldferry-fleet-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var b broker
	switch {
	case server != "":
		b = given(strings.Split(server, ","))
	case cluster:
		b, err = startCluster(ctx)
	default:
		b, err = startMosquitto(dir)
	}
	if err != nil {
		return err
	}
	defer b.close()
	r, err := measure(ctx, o, b, dir)
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	return r.print(os.Stdout)
}

// shm is where buffers cost no disk; empty: the usual place for such files.
func shm() string {
	const dir = "/dev/shm"
	if st, err := os.Stat(dir); err == nil && st.IsDir() {
		return dir
	}
	return ""
}

// manyFiles lifts the limit of open files, for the broker too.
func manyFiles() error {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return err
	}
	l.Cur = l.Max
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l)
}

// report is what a run found. Times are in seconds, memory is in bytes.
type report struct {
	Broker   string `json:"broker"`
	Gateways int    `json:"gateways"`
	Rate     int    `json:"records_per_second_each"`

	Connected float64 `json:"all_connected_after"`
	Records   float64 `json:"records_per_second"`
	Messages  float64 `json:"messages_per_second"`
	CPU       float64 `json:"cpu_seconds_per_second"`
	BrokerCPU float64 `json:"broker_cpu_seconds_per_second"` // 0: not ours
	Memory    int64   `json:"memory_per_gateway"`
	Process   int64   `json:"memory"`

	Event    string    `json:"event,omitempty"` // what happened to the broker; empty: nothing
	Hit      int       `json:"gateways_hit"`
	Attempts float64   `json:"attempts_per_gateway_hit"`
	Returns  []float64 `json:"returns"` // from the event to each gateway's first acknowledgement, in order
	Lost     uint64    `json:"lost"`
	After    int64     `json:"memory_per_gateway_after"`
	Drained  float64   `json:"drained_after"` // from the event until no gateway had a backlog any more
}

func (r *report) print(w io.Writer) error {
	p := &printer{w: w}
	p.line("%d gateways with %d records/s each, broker: %s", r.Gateways, r.Rate, r.Broker)
	p.line("all connected after %.1f s", r.Connected)
	p.line("%.0f records/s in %.0f messages/s, %.1f %% of a core, %.0f us of CPU time a message",
		r.Records, r.Messages, 100*r.CPU, 1e6*r.CPU/max(r.Messages, 1))
	if r.BrokerCPU > 0 {
		p.line("the broker: %.1f %% of a core, %.0f us of CPU time a message", 100*r.BrokerCPU, 1e6*r.BrokerCPU/max(r.Messages, 1))
	}
	p.line("%d kB of memory a gateway, %.0f MB for all", r.Memory/1000, float64(r.Process)/1e6)
	if r.Event == "" {
		return p.err
	}
	p.line("%s", r.Event)
	p.line("%d gateways lost their connection; %.1f attempts each until they were back", r.Hit, r.Attempts)
	p.line("from then to a gateway's first acknowledgement: median %.2f s, 99 %% %.2f s, last %.2f s",
		quantile(r.Returns, 0.5), quantile(r.Returns, 0.99), quantile(r.Returns, 1))
	for _, bar := range bars(r.Returns) {
		p.line("  %s", bar)
	}
	p.line("backlog gone after %.1f s; %d records lost; %d kB of memory a gateway", r.Drained, r.Lost, r.After/1000)
	return p.err
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
