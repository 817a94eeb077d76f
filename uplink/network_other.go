//go:build !linux

package uplink

import "context"

func (u *Uplink) watchNetwork(context.Context) {}
