package link

import (
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const needAdmin = "needs the capability CAP_NET_ADMIN"

// Up sets an interface as s says and brings it up, and returns what it is
// afterwards, as the kernel tells it: a bit rate the clock does not divide to
// may be off by a little. An interface that is up and set so already is left
// alone; one that is set otherwise goes down first. If setting it fails it
// stays down: it never runs with half of what was asked.
func Up(name string, s Settings) (Info, error) {
	info, err := Get(name)
	if err != nil {
		return info, err
	}
	if info.Up && s.Matches(&info) {
		return info, nil
	}
	if err := s.possible(&info); err != nil {
		return info, fmt.Errorf("%s: %w", name, err)
	}
	var mode Mode
	if info.Controller != nil {
		mode = info.Controller.Mode
	}
	msg, err := encode(info.Index, unix.IFF_UP, unix.IFF_UP, &s, info.Kind, mode)
	if err != nil {
		return info, fmt.Errorf("%s: %w", name, err)
	}
	if info.Up && s.Bitrate != 0 {
		if err := change(header(info.Index, 0, unix.IFF_UP)); err != nil {
			return info, explain(name, "taking it down to set it", err)
		}
	}
	if err := change(msg); err != nil {
		return info, explain(name, "setting it up", err)
	}
	if info, err = Get(name); err != nil {
		return info, err
	}
	return info, s.taken(&info)
}

// Down takes an interface down.
func Down(name string) error {
	info, err := Get(name)
	if err != nil || !info.Up {
		return err
	}
	if err := change(header(info.Index, 0, unix.IFF_UP)); err != nil {
		return explain(name, "taking it down", err)
	}
	return nil
}

// Restart lets a controller that is bus-off take part again at once. It fails
// when the controller is not bus-off, or restarts by itself (RestartMs).
func Restart(name string) error {
	info, err := Get(name)
	if err != nil {
		return err
	}
	msg, err := encodeRestart(info.Index, info.Kind)
	if err == nil {
		err = change(msg)
	}
	if err != nil {
		return explain(name, "restarting the controller", err)
	}
	return nil
}

func encodeRestart(index int, kind string) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Nested(unix.IFLA_LINKINFO, func(info *netlink.AttributeEncoder) error {
		info.String(unix.IFLA_INFO_KIND, kind)
		info.Nested(unix.IFLA_INFO_DATA, func(data *netlink.AttributeEncoder) error {
			data.Uint32(unix.IFLA_CAN_RESTART, 1)
			return nil
		})
		return nil
	})
	attrs, err := ae.Encode()
	return append(header(index, 0, 0), attrs...), err
}

func change(msg []byte) error {
	_, err := request(unix.RTM_NEWLINK, netlink.Acknowledge, msg)
	return err
}

// possible says what of s an interface cannot do, before anything is changed.
func (s *Settings) possible(i *Info) error {
	c := i.Controller
	switch {
	case s.Bitrate == 0:
		if c != nil && c.Timing.Bitrate == 0 {
			return errors.New("no bit rate is set yet, and none is given")
		}
		return nil
	case c == nil:
		return fmt.Errorf("it is a virtual interface (%s), which has no bit rate; leave the bit rate out", i.Kind)
	case c.Supported != 0 && s.Mode&^c.Supported != 0:
		return fmt.Errorf("the controller has no mode %s: %w", s.Mode&^c.Supported, unix.EOPNOTSUPP)
	case c.BitrateMax != 0 && max(s.Bitrate, s.DataBitrate) > c.BitrateMax:
		return fmt.Errorf("its transceiver goes to %d bit/s at most: %w", c.BitrateMax, unix.EINVAL)
	case len(c.Bitrates) > 0 && !slices.Contains(c.Bitrates, s.Bitrate):
		return fmt.Errorf("it has no bit rate of %d; it has %v: %w", s.Bitrate, c.Bitrates, unix.EINVAL)
	}
	return nil
}

// taken compares what was asked with what the kernel has made of it.
func (s *Settings) taken(i *Info) error {
	const closeEnough = 50 // per mille: what the kernel itself allows (CAN_CALC_MAX_ERROR)
	c := i.Controller
	off := func(want, got uint32) bool {
		return want != 0 && max(want, got)-min(want, got) > want/1000*closeEnough
	}
	switch {
	case !i.Up:
		return fmt.Errorf("%s: it is still down after setting it up", i.Name)
	case s.Bitrate == 0 || c == nil:
		return nil
	case off(s.Bitrate, c.Timing.Bitrate), off(s.DataBitrate, c.Data.Bitrate):
		return fmt.Errorf("%s: asked for %d and %d bit/s, the controller has %d and %d", i.Name,
			s.Bitrate, s.DataBitrate, c.Timing.Bitrate, c.Data.Bitrate)
	case s.Mode != c.Mode&ManagedModes:
		return fmt.Errorf("%s: asked for the modes %q, the controller has %q", i.Name, s.Mode, c.Mode&ManagedModes)
	case s.RestartMs != nil && *s.RestartMs != c.RestartMs:
		return fmt.Errorf("%s: asked for restart-ms %d, the controller has %d", i.Name, *s.RestartMs, c.RestartMs)
	}
	return nil
}

// explain says what an error of a change means and what to do about it.
func explain(name, doing string, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%s: %s %s: %w", name, doing, needAdmin, err)
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("%s: %s: the controller cannot do what is asked (a mode such as listen-only, one-shot or fd, or the bit rate): %w", name, doing, err)
	case errors.Is(err, unix.EDOM), errors.Is(err, unix.ERANGE):
		return fmt.Errorf("%s: %s: the controller's clock cannot make this bit rate or sample point: %w", name, doing, err)
	}
	return fmt.Errorf("%s: %s: %w", name, doing, err)
}
