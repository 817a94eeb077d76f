package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"fieldferry/bus/can"
	"fieldferry/bus/can/logfile"
)

func (l *loader) can(v value, taken sources) []CAN {
	var out []CAN
	for _, item := range v.list() {
		out = append(out, l.canSource(item, taken))
	}
	return out
}

func (l *loader) canSource(v value, taken sources) CAN {
	f := v.fields("interface", "name", "filters", "join_filters", "fd", "timestamps", "bitrate", "dbitrate", "sample_point",
		"dsample_point", "listen_only", "triple_sampling", "loopback", "one_shot", "restart_ms", "txqueuelen", "limit", "messages", "dbc", "match", "raw")
	if !v.is(object) {
		return CAN{}
	}
	iface := f.need("interface", "write interface: can0")
	var c CAN
	var sourceName string
	c.Bus.Interface, sourceName = iface.canInterface()
	name := f.at("name")
	if name.has {
		c.Name = name.level("")
	} else {
		name = iface
		c.Name = sourceName
		if what := levelTrouble(c.Name); what != "" && c.Bus.Interface != "" {
			iface.fail(fmt.Sprintf("cannot stand for the name: %s %s", shown(c.Name), what), "add name: NAME")
		}
	}
	if c.Bus.Interface != "" || f.at("name").has {
		taken.add(c.Name, name)
	}
	f.at("filters").canFilters(&c.Bus)
	c.Bus.Join = f.at("join_filters").boolean(c.Bus.Join)
	c.Bus.FD = f.at("fd").boolean(false)
	c.Bus.Timestamps = map[string]can.Timestamps{"kernel": can.TimesKernel, "hardware": can.TimesHardware,
		"receive": can.TimesReceive}[f.at("timestamps").choice("kernel", "hardware", "receive")]
	f.canLink(&c.Bus)
	c.DBC = f.canDBC()
	f.at("filters").canFilterReach(&c)
	f.canLimits(&c)
	c.DecodedOnly = !f.at("raw").boolean(true)
	if c.DecodedOnly && c.DBC == nil {
		f.at("raw").fail("sends only frames that a DBC file describes, but there is none", "add dbc: [FILE], or remove it")
	}
	return c
}

// canInterface returns the checked interface, a log's path resolved, and the
// name of a source that has none: the interface, without options and the
// directories of a log.
func (v value) canInterface() (text, name string) {
	text = v.text("")
	if text == "" {
		return "", ""
	}
	src, err := can.ParseInterface(text)
	if v.syntax(err) {
		return "", ""
	}
	switch src.Kind {
	case can.Sim:
		return text, "sim:" + src.Name
	case can.Replay:
		src.Name = v.l.resolve(src.Name)
		if what, fix := regularTrouble("the log", src.Name); what != "" {
			v.fail(what, fix)
			return "", ""
		}
		v.names(src.Name, FileLog)
		v.logBuses(src)
		name = "replay:" + path.Base(src.Name)
		if src.Bus != "" {
			name += ":" + src.Bus
		}
		return src.String(), name
	}
	return text, text
}

// maxLogLooked is how much of a log is looked at for its interfaces.
const maxLogLooked = 4 << 20

// logBuses warns of frames of a log that will not be played, because they are
// of another interface: a source is one bus.
func (v value) logBuses(src can.Source) {
	f, err := os.OpenFile(src.Name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	lines, _, err := logfile.NewReader(f)
	if errors.Is(err, logfile.ErrForeign) {
		what, fix, _ := strings.Cut(err.Error(), "; ")
		v.fail(what, fix)
		return
	}
	if err != nil {
		return
	}
	looked := &io.LimitedReader{R: lines, N: maxLogLooked}
	names := can.LogBuses(looked)
	whole := looked.N > 0
	if info, err := f.Stat(); err == nil && whole && info.Size() > 0 && len(names) == 0 {
		v.fail("there is no frame in the log", "record one with candump -l")
	}
	for i, name := range names {
		names[i] = shown(name)
	}
	switch bus := shown(src.Bus); {
	case src.Bus == "" && len(names) > 1:
		v.warn("the log has frames of several interfaces ("+strings.Join(names, ", ")+"); a source is one bus, so only those of "+names[0]+" are played",
			"select one with ?bus=NAME, and make each further one a source of its own")
	case src.Bus != "" && len(names) > 0 && whole && !slices.Contains(names, bus):
		v.warn("the log has no frames of "+bus+", only of "+strings.Join(names, ", "), "correct bus=")
	}
}

// syntax reports what package can finds wrong with a text.
func (v value) syntax(err error) bool {
	var wrong *can.SyntaxError
	if errors.As(err, &wrong) {
		v.fail(shown(wrong.Text)+" "+wrong.What, wrong.Fix)
	}
	return err != nil
}

func (v value) canFilters(bus *can.Config) {
	items := v.list()
	if len(items) > can.MaxFilters {
		v.fail(fmt.Sprintf("%d filters are more than the %d the kernel takes", len(items), can.MaxFilters), "use masks that cover several ids")
	}
	var set can.FilterSet
	for _, item := range items {
		if text := item.text(""); text != "" {
			item.syntax(set.Add(text))
		}
	}
	set.AddTo(bus)
}
