package config

import (
	"fmt"
	"time"

	"fieldferry/bus/can"
)

const maxNth = 1_000_000

// canLimit reads what keeps frames back.
func (v value) canLimit() can.Limit {
	var l can.Limit
	if !v.has {
		return l
	}
	f := v.fields("on_change", "min_interval", "max_interval", "every_nth")
	interval := func(key, example string) time.Duration {
		return f.at(key).duration(span{low: time.Millisecond, high: can.MaxLimitInterval, zero: true, example: example}, 0)
	}
	l.OnChange = f.at("on_change").boolean(false)
	l.MinInterval = interval("min_interval", "100ms")
	l.MaxInterval = interval("max_interval", "60s")
	l.EveryNth = uint32(f.at("every_nth").integer(1, maxNth, 0))
	switch {
	case l.MaxInterval == 0:
	case l.MaxInterval < l.MinInterval:
		f.at("max_interval").fail("is shorter than min_interval", "make it longer, or remove one of them")
	case !l.OnChange && l.EveryNth <= 1:
		f.at("max_interval").warn("does nothing by itself: every frame passes anyway after min_interval", "add on_change: true, or remove it")
	}
	return l
}

// canMessages reads what is said of single messages, by arbitration id.
func (v value) canMessages() map[uint32]can.Limit {
	if !v.is(object) {
		return nil
	}
	v.l.places[v.path] = v.n.at
	if len(v.n.fields) > can.MaxIDs {
		v.fail(fmt.Sprintf("%d messages are more than the %d that are kept account of", len(v.n.fields), can.MaxIDs), "remove some")
		return nil
	}
	limits := map[uint32]can.Limit{}
	seen := map[uint32]string{}
	for _, fd := range v.n.fields {
		path := join(v.path, printable(fd.key))
		report := func(what, fix string) { v.l.report(fd.at, fd.set, path, what, fix, false) }
		id, ok := messageID(fd.key)
		if !ok {
			report("is no arbitration id", "write 3 hexadecimal digits for a standard id, such as 1A0, 8 for an extended one, such as 0CF00400")
			continue
		}
		if first, twice := seen[id]; twice {
			report("says the same as "+first, "remove one of them")
			continue
		}
		seen[id] = fd.key
		m := value{v.l, path, fd.value, true}.fields("limit")
		if m.at("limit").has {
			limits[id] = m.at("limit").canLimit()
		}
	}
	return limits
}

// messageID reads an arbitration id as candump writes it.
func messageID(text string) (id uint32, ok bool) {
	id, ok = hex32(text)
	switch {
	case !ok:
	case len(text) == 3:
		return id, id <= can.MaxID
	case len(text) == 8:
		return id | canEFF, id <= can.MaxExtendedID
	}
	return 0, false
}
