package config

import "fieldferry/bus/can"

// canFilterReach warns of what the DBC files describe and the filters keep out:
// nothing of it is ever read, and nothing is wrong on the bus.
func (v value) canFilterReach(c *CAN) {
	if len(c.Bus.Filters) == 0 || c.DBC == nil {
		return
	}
	pass := func(id, mask uint32) bool {
		return can.CanPass(c.Bus.Filters, c.Bus.Join, id, mask|canEFF|canRTR)
	}
	packets := true
	for _, carrier := range transportIDs {
		packets = packets && pass(carrier.ID, carrier.Mask)
	}
	any, torn := false, ""
	for _, m := range c.DBC.Messages() {
		id, mask := c.DBC.IDs(m)
		if m.Extended {
			id |= canEFF
		}
		whole, long := pass(id, mask), c.DBC.IsPart(m, 0) && !c.Bus.FD
		any = any || whole || long && packets
		if whole && long && !packets {
			torn = m.Name
		}
	}
	switch {
	case !any:
		v.warn("let no message of the DBC files pass", "write id:mask with the id as it is on the bus; \"00F00400:03FFFF00\" lets PGN F004 of every sender through")
	case torn != "":
		v.warn("let "+shown(torn)+" through but not the packets that it comes in, so that it is never whole", `add "00EC0000:03FF0000" and "00EB0000:03FF0000"`)
	}
}
