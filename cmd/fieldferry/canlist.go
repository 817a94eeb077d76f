package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"fieldferry/bus/can/link"

	"github.com/spf13/cobra"
)

func isPermission(err error) bool { return errors.Is(err, link.ErrPermission) }

func (a *app) newCANListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list [INTERFACE]...",
		Short: "Show CAN interfaces: state, bit timing, modes and counters",
		Long: `list shows what "ip -details -statistics link show" knows of CAN interfaces:
whether the link is up, the state of the controller and its error counters, bit
rate and sample point, modes, restart-ms, and what was received and sent.`,
		Example: `  fieldferry can list
  fieldferry can list can0 --json`,
		RunE: func(_ *cobra.Command, names []string) error { return a.canList(names, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array")
	return c
}

func (a *app) canList(names []string, asJSON bool) error {
	list, err := link.List()
	if err != nil {
		return err
	}
	if len(names) > 0 {
		for _, name := range names {
			if !slices.ContainsFunc(list, func(i link.Info) bool { return i.Name == name }) {
				_, err := link.Get(name) // says why
				return err
			}
		}
		list = slices.DeleteFunc(list, func(i link.Info) bool { return !slices.Contains(names, i.Name) })
	}
	if asJSON {
		return writeLinksJSON(a.stdout, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(a.stderr, "there is no CAN interface; is the adapter plugged in and its kernel module loaded?")
	}
	for i := range list {
		writeLink(a.stdout, &list[i])
	}
	return nil
}

// writeLink shows an interface to a person.
func writeLink(w io.Writer, i *link.Info) {
	c := i.Controller
	if c == nil {
		fmt.Fprintf(w, "%-8s %-5s %s, no controller\n", i.Name, upWord(i), kindWord(i))
		writeTraffic(w, i)
		return
	}
	fmt.Fprintf(w, "%-8s %-5s %-14s %s\n", i.Name, upWord(i), c.State, timingWords(c))
	var parts []string
	if c.HasErrors {
		parts = append(parts, fmt.Sprintf("errors tx %d rx %d", c.TxErrors, c.RxErrors))
	}
	restart := fmt.Sprintf("restart-ms %d", c.RestartMs)
	if c.RestartMs == 0 {
		restart += " (stays bus-off until restarted)"
	}
	parts = append(parts, restart)
	if c.Clock > 0 {
		parts = append(parts, fmt.Sprintf("clock %g MHz", float64(c.Clock)/1e6))
	}
	if c.Limits != nil && c.Limits.Name != "" {
		parts = append(parts, printable(c.Limits.Name))
	}
	if c.Termination > 0 {
		parts = append(parts, fmt.Sprintf("termination %d ohm", c.Termination))
	}
	fmt.Fprintf(w, "         %s\n", strings.Join(parts, ", "))
	n := c.Counters
	fmt.Fprintf(w, "         bus errors %d, warnings %d, passive %d, bus-off %d, arbitration lost %d, restarts %d\n",
		n.BusErrors, n.ErrorWarning, n.ErrorPassive, n.BusOff, n.ArbitrationLost, n.Restarts)
	writeTraffic(w, i)
}

func kindWord(i *link.Info) string {
	if i.Kind == "" {
		return "unknown kind"
	}
	return printable(i.Kind)
}

// timingWords says how fast a bus is and how its controller is set.
func timingWords(c *link.Controller) string {
	if c.Timing.Bitrate == 0 {
		return "no bit rate set"
	}
	s := fmt.Sprintf("%d bit/s at %.1f %%", c.Timing.Bitrate, percent(c.Timing.SamplePoint))
	if c.Data.Bitrate > 0 {
		s += fmt.Sprintf(", data %d bit/s at %.1f %%", c.Data.Bitrate, percent(c.Data.SamplePoint))
	}
	if c.Mode != 0 {
		s += ", " + strings.Join(c.Mode.Names(), ", ")
	}
	return s
}

func writeTraffic(w io.Writer, i *link.Info) {
	t := i.Traffic
	fmt.Fprintf(w, "         received %d frames, %d errors, %d dropped, %d overruns; sent %d frames, %d errors, %d dropped; queue %d\n",
		t.RxFrames, t.RxErrors, t.RxDropped, t.RxOverruns, t.TxFrames, t.TxErrors, t.TxDropped, i.TxQueueLen)
}

type linkJSON struct {
	_ [0]func() // nobody compares them: saves the code for it

	Interface  string          `json:"interface"`
	Kind       string          `json:"kind"`
	Up         bool            `json:"up"`
	MTU        uint32          `json:"mtu"`
	FD         bool            `json:"fd"`
	TxQueueLen uint32          `json:"txqueuelen"`
	Controller *controllerJSON `json:"controller,omitempty"`
	Received   trafficJSON     `json:"received"`
	Sent       trafficJSON     `json:"sent"`
}

type controllerJSON struct {
	State     string      `json:"state"`
	Timing    *timingJSON `json:"bittiming,omitempty"`
	Data      *timingJSON `json:"data_bittiming,omitempty"`
	Clock     uint32      `json:"clock"`
	Modes     []string    `json:"modes"`
	Supported []string    `json:"supported_modes,omitempty"`
	RestartMs uint32      `json:"restart_ms"`
	TxErrors  *uint16     `json:"tx_errors,omitempty"`
	RxErrors  *uint16     `json:"rx_errors,omitempty"`
	Chip      string      `json:"chip,omitempty"`
	BusErrors uint32      `json:"bus_errors"`
	Warnings  uint32      `json:"error_warnings"`
	Passive   uint32      `json:"error_passive"`
	BusOff    uint32      `json:"bus_off"`
	Lost      uint32      `json:"arbitration_lost"`
	Restarts  uint32      `json:"restarts"`
}

type timingJSON struct {
	_ [0]func() // nobody compares them: saves the code for it

	Bitrate     uint32  `json:"bitrate"`
	SamplePoint float64 `json:"sample_point"`
	TimeQuantum uint32  `json:"tq"`
	PropSeg     uint32  `json:"prop_seg"`
	PhaseSeg1   uint32  `json:"phase_seg1"`
	PhaseSeg2   uint32  `json:"phase_seg2"`
	SJW         uint32  `json:"sjw"`
	Prescaler   uint32  `json:"brp"`
}

type trafficJSON struct {
	Frames   uint64  `json:"frames"`
	Bytes    uint64  `json:"bytes"`
	Errors   uint64  `json:"errors"`
	Dropped  uint64  `json:"dropped"`
	Overruns *uint64 `json:"overruns,omitempty"`
}

func writeLinksJSON(w io.Writer, list []link.Info) error {
	out := []linkJSON{}
	for i := range list {
		n := &list[i]
		t := &n.Traffic
		out = append(out, linkJSON{
			Interface: n.Name, Kind: n.Kind, Up: n.Up, MTU: n.MTU, FD: n.FD(), TxQueueLen: n.TxQueueLen,
			Controller: controllerToJSON(n.Controller),
			Received:   trafficJSON{t.RxFrames, t.RxBytes, t.RxErrors, t.RxDropped, &t.RxOverruns},
			Sent:       trafficJSON{t.TxFrames, t.TxBytes, t.TxErrors, t.TxDropped, nil},
		})
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

func controllerToJSON(c *link.Controller) *controllerJSON {
	if c == nil {
		return nil
	}
	n := c.Counters
	j := &controllerJSON{
		State: c.State.String(), Timing: timingToJSON(c.Timing), Data: timingToJSON(c.Data), Clock: c.Clock,
		Modes: c.Mode.Names(), RestartMs: c.RestartMs, BusErrors: n.BusErrors, Warnings: n.ErrorWarning,
		Passive: n.ErrorPassive, BusOff: n.BusOff, Lost: n.ArbitrationLost, Restarts: n.Restarts,
	}
	if c.Supported != 0 {
		j.Supported = c.Supported.Names()
	}
	if c.HasErrors {
		j.TxErrors, j.RxErrors = &c.TxErrors, &c.RxErrors
	}
	if c.Limits != nil {
		j.Chip = c.Limits.Name
	}
	return j
}

func timingToJSON(t link.BitTiming) *timingJSON {
	if t.Bitrate == 0 {
		return nil
	}
	return &timingJSON{Bitrate: t.Bitrate, SamplePoint: float64(t.SamplePoint) / 1000, TimeQuantum: t.TimeQuantum, PropSeg: t.PropSeg,
		PhaseSeg1: t.PhaseSeg1, PhaseSeg2: t.PhaseSeg2, SJW: t.SJW, Prescaler: t.Prescaler}
}
