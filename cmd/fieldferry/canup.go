package main

import (
	"math"

	"fieldferry/bus/can/link"

	"github.com/spf13/cobra"
)

type canUpOptions struct {
	_ [0]func() // nobody compares them: saves the code for it

	bitrate, dbitrate, queue                                    uint32
	samplePoint, dsamplePoint                                   float64
	restartMs                                                   uint32
	listenOnly, triple, loopback, oneShot, berrReporting, useFD bool
}

func (a *app) newCANUpCommand() *cobra.Command {
	var o canUpOptions
	var asJSON bool
	c := &cobra.Command{
		Use:   "up INTERFACE",
		Short: "Set a CAN link up, listen-only unless asked otherwise",
		Long: `up sets bit rate and modes of a CAN controller and brings the interface up. If
it is up with other settings it goes down first: a frame on the bus meanwhile is
not received. Without --bitrate the interface comes up as it is set, or, if it is
virtual, as it is. It needs root (CAP_NET_ADMIN).

Unless --listen-only=false is given the controller takes no part in the bus: it
neither acknowledges nor sends. With only one other node on the bus, nobody then
acknowledges that node's frames.`,
		Example: `  fieldferry can up can0 --bitrate 250000
  fieldferry can up can0 --bitrate 500000 --fd --dbitrate 2000000 --listen-only=false --restart-ms 100`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := o.settings(c)
			if err != nil {
				return err
			}
			info, err := link.Up(args[0], s)
			if err != nil {
				return adviseLink(err)
			}
			if asJSON {
				return writeLinksJSON(a.stdout, []link.Info{info})
			}
			writeLink(a.stdout, &info)
			return nil
		},
	}
	f := c.Flags()
	f.Uint32Var(&o.bitrate, "bitrate", 0, "`BIT/S`, as 250000")
	f.Float64Var(&o.samplePoint, "sample-point", 0, "`PART` of the bit, as 0.875; default: the kernel's choice")
	f.Uint32Var(&o.dbitrate, "dbitrate", 0, "CAN FD: `BIT/S` of the data phase")
	f.Float64Var(&o.dsamplePoint, "dsample-point", 0, "CAN FD: `PART` of the bit in the data phase")
	f.BoolVar(&o.useFD, "fd", false, "CAN FD")
	f.BoolVar(&o.listenOnly, "listen-only", true, "never acknowledge and never send")
	f.BoolVar(&o.triple, "triple-sampling", false, "sample every bit three times")
	f.BoolVar(&o.loopback, "loopback", false, "hear one's own frames, on or off a bus")
	f.BoolVar(&o.oneShot, "one-shot", false, "do not repeat a frame that was not acknowledged")
	f.BoolVar(&o.berrReporting, "berr-reporting", false, "report every single bus error")
	f.Uint32Var(&o.restartMs, "restart-ms", 0, "restart this many `MS` after bus-off; 0: never; default: as it is")
	f.BoolVar(&asJSON, "json", false, "print one JSON array")
	f.Uint32Var(&o.queue, "txqueuelen", 0, "`FRAMES` the transmit queue takes; default: as it is")
	return c
}

// settings makes settings of the flags, and says what is wrong with them.
func (o *canUpOptions) settings(c *cobra.Command) (link.Settings, error) {
	s := link.Settings{Bitrate: o.bitrate, DataBitrate: o.dbitrate, TxQueueLen: o.queue}
	given := c.Flags().Changed
	if !given("bitrate") {
		for _, name := range []string{"sample-point", "dbitrate", "dsample-point", "fd", "listen-only", "triple-sampling",
			"loopback", "one-shot", "berr-reporting", "restart-ms"} {
			if given(name) {
				return s, usageError("--%s needs --bitrate", name)
			}
		}
		return s, nil
	}
	var err error
	switch {
	case o.bitrate == 0:
		return s, usageError("--bitrate 0: give the bit rate of the bus, as 250000")
	case o.useFD && o.dbitrate == 0:
		return s, usageError("--fd needs --dbitrate")
	case o.dbitrate != 0 && !o.useFD:
		return s, usageError("--dbitrate needs --fd")
	}
	if s.SamplePoint, err = perMille("sample-point", o.samplePoint); err != nil {
		return s, err
	}
	if s.DataSamplePoint, err = perMille("dsample-point", o.dsamplePoint); err != nil {
		return s, err
	}
	if given("restart-ms") {
		s.RestartMs = &o.restartMs
	}
	for mode, on := range map[link.Mode]bool{
		link.ListenOnly: o.listenOnly, link.TripleSampling: o.triple, link.Loopback: o.loopback,
		link.OneShot: o.oneShot, link.BerrReporting: o.berrReporting, link.FD: o.useFD,
	} {
		if on {
			s.Mode |= mode
		}
	}
	return s, nil
}

func perMille(flag string, part float64) (uint32, error) {
	if part != 0 && !(part >= 0.5 && part < 1) {
		return 0, usageError("--%s %v: give a part of the bit from 0.5 to 0.99, as 0.875", flag, part)
	}
	return uint32(math.Round(part * 1000)), nil
}

func (a *app) newCANDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "down INTERFACE",
		Short:   "Take a CAN link down",
		Example: "  fieldferry can down can0",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			return adviseLink(link.Down(args[0]))
		},
	}
}
