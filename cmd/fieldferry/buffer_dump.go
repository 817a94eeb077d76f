package main

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"fieldferry/buffer"
	"fieldferry/gateway/payload/native"

	"github.com/spf13/cobra"
)

func (a *app) newBufferDumpCommand() *cobra.Command {
	var asJSON, all bool
	var o configOptions
	c := &cobra.Command{
		Use:   "dump [PATH]",
		Short: "Print the records of a buffer",
		Long: `dump prints the records of the buffer in a directory, or of one of its segment
files, that are not acknowledged, and the losses, in the order of the buffer; it
changes nothing. Of a damaged file it prints what can be read. It may be used
while the daemon runs: then it does not see what is only in the daemon's
memory. Each line is

  SESSION SOURCE RECORD

where RECORD is the JSON that the broker is sent. With --json each line is an
object with the members offset, session, source and record. A record that
cannot be read as one of fieldferry's has the member "hex" with its bytes. The
exit code is 1 when there is damage. Without PATH it is the buffer of the
configuration.`,
		Example: `  sudo fieldferry buffer dump
  fieldferry buffer dump /var/lib/fieldferry --json | jq .record`,
		Args: cobra.MaximumNArgs(1),
		RunE: a.onBuffer(&o, func(path string) error { return a.bufferDump(path, all, asJSON) }),
	}
	o.addFlags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.Flags().BoolVar(&all, "all", false, "print also what is acknowledged and still stored")
	return c
}

// recordDumper prints records.
type recordDumper struct {
	out     *bufio.Writer
	json    bool
	encoder native.Encoder
	record  []byte
}

// dumpLine is a record for machines.
type dumpLine struct {
	Offset  uint64          `json:"offset"`
	Session uint64          `json:"session"`
	Source  string          `json:"source"`
	Record  json.RawMessage `json:"record"`
}

func (d *recordDumper) print(r buffer.Record) error {
	var err error
	switch {
	case r.Lost > 0:
		d.record = d.encoder.AppendLoss(d.record[:0], r.Seq, r.Seq+r.Lost-1, r.Time, r.Reason.String())
	default:
		// The buffer may hold what another program stored in it.
		if d.record, err = d.encoder.AppendRecord(d.record[:0], r.Seq, r.Time, r.Data, nil); err != nil || !json.Valid(d.record) {
			d.record = fmt.Appendf(d.record[:0], `{"seq":%d,"ts":%q,"type":"unknown","hex":%q}`, r.Seq, stampText(r.Time), hex.EncodeToString(r.Data))
		}
	}
	if !d.json {
		_, err = fmt.Fprintf(d.out, "%d %s %s\n", r.Session, printable(r.Source), d.record)
		return err
	}
	line, err := json.Marshal(dumpLine{r.Offset, r.Session, r.Source, d.record})
	if err == nil {
		_, err = d.out.Write(append(line, '\n'))
	}
	return err
}

func (a *app) bufferDump(path string, all, asJSON bool) error {
	d := recordDumper{out: bufio.NewWriterSize(a.stdout, 64<<10), json: asJSON}
	bar := a.newBar("reading", bytesText)
	if isTerminal(a.stdout) {
		bar.out = io.Discard // the records show that it goes on
	}
	r, err := buffer.Dump(path, all, bar.show, d.print)
	bar.clear()
	if ferr := d.out.Flush(); err == nil {
		err = ferr
	}
	if err != nil {
		return err
	}
	a.printDamage(&r)
	return damaged(&r)
}
