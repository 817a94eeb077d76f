package main

import (
	"context"
	"fmt"
	"time"

	"fieldferry/bus/can"
	"fieldferry/bus/can/send"

	"github.com/spf13/cobra"
)

func (a *app) newCANSendCommand() *cobra.Command {
	var gap time.Duration
	c := &cobra.Command{
		Use:   "send INTERFACE FRAME...",
		Short: "Send CAN frames, in cansend's notation",
		Long: `send writes frames to a bus. It refuses an interface that is listen-only.

  123#DEADBEEF       standard id, four bytes; dots may stand between bytes
  0CF00400#0011      extended id: eight digits
  123#R  123#R4      remote frame, asking for four bytes
  123##1AABB         CAN FD; the digit is 1 for bit rate switch, 2 for error state, 3 for both`,
		Example: `  fieldferry can send can0 123#DEADBEEF 7DF#02.01.0C`,
		Args:    cobra.MinimumNArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			return a.canSend(c.Context(), args[0], args[1:], gap)
		},
	}
	c.Flags().DurationVar(&gap, "gap", 0, "wait this `TIME` between frames, as 10ms")
	return c
}

func (a *app) canSend(ctx context.Context, iface string, texts []string, gap time.Duration) error {
	frames := make([]can.Frame, len(texts))
	for i, text := range texts {
		var err error
		if frames[i], err = send.ParseFrame(text); err != nil {
			return usageError("%w", err)
		}
	}
	s, err := send.Open(iface)
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	for i := range frames {
		if i > 0 && gap > 0 {
			select {
			case <-time.After(gap):
			case <-ctx.Done():
			}
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("stopped after %d frames: %w", i, err)
		}
		if err := s.Send(ctx, &frames[i]); err != nil {
			return err
		}
	}
	return nil
}
