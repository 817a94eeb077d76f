package web

import (
	"cmp"
	"net/http"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"fieldferry/gateway/live"
)

// metrics is GET /metrics, in the text format of Prometheus, version 0.0.4.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Metrics.OpenOnLoopback && fromLoopback(r) || s.opts.Open {
		s.writeMetrics(w)
		return
	}
	s.needs(Read, func(w http.ResponseWriter, _ *http.Request) { s.writeMetrics(w) })(w, r)
}

func fromLoopback(r *http.Request) bool {
	ip, err := netip.ParseAddr(address(r))
	return err == nil && ip.IsLoopback()
}

func (s *Server) writeMetrics(w http.ResponseWriter) {
	snap := s.opts.View.Snapshot()
	if snap == nil {
		problem(w, http.StatusServiceUnavailable, "starting", "The gateway is starting.")
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	m := &exposition{}
	m.gateway(snap)
	m.buffer(&snap.Buffer)
	m.uplink(&snap.Uplink)
	m.sources(snap.Sources)
	m.can(snap.Sources)
	m.modbus(snap.Sources)
	m.alarms(snap)
	m.signals(s.opts.View, s.cfg.Metrics.Signals)
	_, _ = w.Write(m.text)
}

// exposition is a reply in the making: one HELP and TYPE for each name, and the
// samples behind it.
type exposition struct{ text []byte }

// prefix of every name that is not of the process.
const prefix = "fieldferry_"

func (m *exposition) family(name, kind, help string) {
	m.text = append(m.text, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"...)
}

// sample appends one value; labels are pairs of name and value.
func (m *exposition) sample(name string, value float64, labels ...string) {
	m.text = append(m.text, name...)
	for i := 0; i < len(labels); i += 2 {
		m.text = append(m.text, "{,"[min(i, 1)])
		m.text = append(m.text, labels[i]...)
		m.text = append(m.text, '=', '"')
		m.text = append(m.text, escapeLabel(labels[i+1])...)
		m.text = append(m.text, '"')
	}
	if len(labels) > 0 {
		m.text = append(m.text, '}')
	}
	m.text = append(m.text, ' ')
	m.text = strconv.AppendFloat(m.text, value, 'g', -1, 64)
	m.text = append(m.text, '\n')
}

// one is a family of a single sample.
func (m *exposition) one(name, kind, help string, value float64, labels ...string) {
	m.family(name, kind, help)
	m.sample(name, value, labels...)
}

func (m *exposition) histogram(name, help string, h *live.Histogram) {
	m.family(name, "histogram", help)
	for i, bound := range h.Bounds {
		m.sample(name+"_bucket", float64(h.Counts[i]), "le", strconv.FormatFloat(bound, 'g', -1, 64))
	}
	m.sample(name+"_bucket", float64(h.Count), "le", "+Inf")
	m.sample(name+"_sum", h.Sum)
	m.sample(name+"_count", float64(h.Count))
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func escapeLabel(s string) string { return labelEscapes.Replace(strings.ToValidUTF8(s, "\uFFFD")) }

func yes(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func (m *exposition) gateway(s *live.Snapshot) {
	m.one(prefix+"build_info", "gauge", "Version of the program and id of the gateway; always 1.", 1, "version", s.Version, "gateway", s.Gateway)
	m.one(prefix+"session", "gauge", "Session of the buffer; grows with every start.", float64(s.Session))
	m.one(prefix+"clock_trusted", "gauge", "1 while the machine's clock is trusted.", yes(s.Clock.Trusted))
	m.family(prefix+"state", "gauge", "State of the gateway: 1 for the one it is in.")
	for _, state := range []live.State{live.OK, live.CatchingUp, live.Attention, live.Outage, live.Losing, live.Starting} {
		m.sample(prefix+"state", yes(s.State == state), "state", string(state))
	}
	m.one("process_cpu_seconds_total", "counter", "User and system time of the process.", s.Process.CPUSeconds)
	m.one("process_resident_memory_bytes", "gauge", "Resident memory of the process.", float64(s.Process.Memory))
	m.one("process_start_time_seconds", "gauge", "Start of the process, or the last reload that began a session; Unix time.", float64(s.Started.UnixMilli())/1000)
	m.one("go_goroutines", "gauge", "Goroutines of the process.", float64(s.Process.Goroutines))
}

func (m *exposition) buffer(b *live.Buffer) {
	m.one(prefix+"buffer_records", "gauge", "Records not yet acknowledged.", float64(b.Records))
	m.one(prefix+"buffer_bytes", "gauge", "Bytes of the buffer on disk.", float64(b.Disk))
	m.one(prefix+"buffer_limit_bytes", "gauge", "Bytes the buffer may take.", float64(b.Limit))
	m.one(prefix+"buffer_memory_bytes", "gauge", "Bytes of records in memory.", float64(b.Memory))
	m.one(prefix+"buffer_disk_written_bytes_total", "counter", "Bytes of records written to disk in this session.", float64(b.Written))
	m.one(prefix+"buffer_fault", "gauge", "1 while the disk does not take records.", yes(b.Fault != ""))
	if b.OldestAge >= 0 {
		m.one(prefix+"buffer_oldest_record_age_seconds", "gauge", "Age of the oldest record not yet acknowledged.", b.OldestAge)
	}
	m.family(prefix+"records_lost_total", "counter", "Records lost in this session, each named by a loss record.")
	for _, reason := range sortedKeys(b.LostBy) {
		m.sample(prefix+"records_lost_total", float64(b.LostBy[reason]), "reason", reason)
	}
}

func (m *exposition) uplink(u *live.Uplink) {
	m.one(prefix+"uplink_connected", "gauge", "1 while the broker is connected.", yes(u.Connected))
	m.one(prefix+"uplink_denied", "gauge", "1 while the broker does not let the gateway publish anything.", yes(u.Denied))
	m.one(prefix+"uplink_messages_sent_total", "counter", "Messages handed to a connection, repetitions included.", float64(u.Sent))
	m.one(prefix+"uplink_messages_acked_total", "counter", "Messages acknowledged.", float64(u.Acked))
	m.one(prefix+"uplink_messages_refused_total", "counter", "Messages given up, each accounted for by loss records.", float64(u.Refused))
	m.one(prefix+"uplink_in_flight", "gauge", "Messages that wait for their PUBACK.", float64(u.InFlight))
	m.one(prefix+"uplink_unanswered_seconds", "gauge", "Time for which messages have waited and none was acknowledged.", u.Unanswered)
	m.histogram(prefix+"uplink_ack_seconds", "Time from sending a message to its acknowledgement.", &u.Acks)
	m.one(prefix+"uplink_sent_bytes_total", "counter", "Bytes written to connections.", float64(u.BytesUp))
	m.one(prefix+"uplink_received_bytes_total", "counter", "Bytes read from connections.", float64(u.BytesDown))
	m.one(prefix+"uplink_connects_total", "counter", "Connections a broker accepted.", float64(u.Connects))
	m.one(prefix+"uplink_failures_total", "counter", "Attempts and connections that ended with an error.", float64(u.Failures))
	m.one(prefix+"uplink_backlog_records", "gauge", "Records an outage has left.", float64(u.Backlog))
}

func (m *exposition) sources(list []live.Source) {
	m.family(prefix+"records_total", "counter", "Records of a source in this session.")
	for i := range list {
		m.sample(prefix+"records_total", float64(list[i].Records), "source", list[i].Name)
	}
	m.family(prefix+"source_up", "gauge", "1 while a source delivers, if only a part.")
	for i := range list {
		m.sample(prefix+"source_up", yes(list[i].State == live.Receives || list[i].State == live.Partial), "source", list[i].Name)
	}
	m.family(prefix+"source_last_record_age_seconds", "gauge", "Age of the last record of a source.")
	for i := range list {
		if list[i].Age >= 0 {
			m.sample(prefix+"source_last_record_age_seconds", list[i].Age, "source", list[i].Name)
		}
	}
	m.family(prefix+"source_last_read_age_seconds", "gauge", "Time since a frame or a value of a source was read.")
	for i := range list {
		if list[i].ReadAge >= 0 && list[i].Kind != "gateway" {
			m.sample(prefix+"source_last_read_age_seconds", list[i].ReadAge, "source", list[i].Name)
		}
	}
}

// each appends a family with one sample for each source that has the part; the
// whole family is left out if none has.
func each[T any](m *exposition, list []live.Source, part func(*live.Source) *T, name, kind, help string, value func(*T) float64) {
	begun := false
	for i := range list {
		if p := part(&list[i]); p != nil {
			if !begun {
				m.family(name, kind, help)
				begun = true
			}
			m.sample(name, value(p), "source", list[i].Name)
		}
	}
}

func (m *exposition) can(list []live.Source) {
	add := func(name, kind, help string, value func(*live.CAN) float64) {
		each(m, list, func(s *live.Source) *live.CAN { return s.CAN }, prefix+"can_"+name, kind, help, value)
	}
	add("frames_total", "counter", "Frames received, also those held back by a limit.", func(c *live.CAN) float64 { return float64(c.Frames) })
	add("rx_dropped_total", "counter", "Frames the kernel dropped before they were read.", func(c *live.CAN) float64 { return float64(c.Dropped) })
	add("suppressed_total", "counter", "Frames held back by a limit.", func(c *live.CAN) float64 { return float64(c.Suppressed) })
	add("error_frames_total", "counter", "Error frames of the controller.", func(c *live.CAN) float64 { return float64(c.ErrorCount) })
	add("restarts_total", "counter", "Restarts of the controller after bus-off.", func(c *live.CAN) float64 { return float64(c.Restarts) })
	add("up", "gauge", "1 while the interface is up.", func(c *live.CAN) float64 { return yes(c.Up) })
	begun := false
	for i := range list {
		if c := list[i].CAN; c != nil && c.Load >= 0 {
			if !begun {
				m.family(prefix+"can_bus_load_ratio", "gauge", "Share of the bus that frames took in the last second, 0 to 1.")
				begun = true
			}
			m.sample(prefix+"can_bus_load_ratio", c.Load/100, "source", list[i].Name)
		}
	}
	begun = false
	for i := range list {
		c := list[i].CAN
		if c == nil || c.Controller == "" {
			continue
		}
		if !begun {
			m.family(prefix+"can_state", "gauge", "State of the controller: 1 for the one it is in.")
			begun = true
		}
		for _, state := range []string{"error-active", "error-warning", "error-passive", "bus-off", "stopped", "sleeping"} {
			m.sample(prefix+"can_state", yes(c.Controller == state), "source", list[i].Name, "state", state)
		}
	}
}

func (m *exposition) modbus(list []live.Source) {
	add := func(name, kind, help string, value func(*live.Modbus) float64) {
		each(m, list, func(s *live.Source) *live.Modbus { return s.Modbus }, prefix+"modbus_"+name, kind, help, value)
	}
	add("line_requests_total", "counter", "Requests on the line.", func(c *live.Modbus) float64 { return float64(c.Requests) })
	add("line_timeouts_total", "counter", "Requests without a reply in time.", func(c *live.Modbus) float64 { return float64(c.Timeouts) })
	add("line_crc_errors_total", "counter", "Replies with a wrong CRC.", func(c *live.Modbus) float64 { return float64(c.CRC) })
	add("line_late_replies_total", "counter", "Replies after their time.", func(c *live.Modbus) float64 { return float64(c.Stale) })
	add("line_overruns_total", "counter", "Polls left out because the line was busy.", func(c *live.Modbus) float64 { return float64(c.Overruns) })
	add("line_up", "gauge", "1 while the port is open.", func(c *live.Modbus) float64 { return yes(!c.PortLost) })
	units := func(name, kind, help string, sample func(line string, u *live.Unit)) {
		begun := false
		for i := range list {
			if list[i].Modbus == nil {
				continue
			}
			for j := range list[i].Modbus.Units {
				if !begun {
					m.family(name, kind, help)
					begun = true
				}
				sample(list[i].Name, &list[i].Modbus.Units[j])
			}
		}
	}
	units(prefix+"modbus_requests_total", "counter", "Requests to a unit by result.", func(line string, u *live.Unit) {
		for _, r := range []struct {
			result string
			n      uint64
		}{{"answered", u.Answered}, {"timeout", u.Timeouts}, {"crc", u.CRC}} {
			m.sample(prefix+"modbus_requests_total", float64(r.n), "line", line, "unit", u.Name, "result", r.result)
		}
		for _, code := range sortedKeys(u.Exceptions) {
			m.sample(prefix+"modbus_requests_total", float64(u.Exceptions[code]), "line", line, "unit", u.Name, "result", "exception_"+code)
		}
	})
	units(prefix+"modbus_unit_up", "gauge", "1 while a unit answers.", func(line string, u *live.Unit) {
		m.sample(prefix+"modbus_unit_up", yes(!u.Offline), "line", line, "unit", u.Name)
	})
	units(prefix+"modbus_rtt_seconds", "gauge", "Time to the reply, of the last replies of a unit.", func(line string, u *live.Unit) {
		if u.P50 >= 0 {
			m.sample(prefix+"modbus_rtt_seconds", u.P50/1000, "line", line, "unit", u.Name, "percentile", "50")
			m.sample(prefix+"modbus_rtt_seconds", u.P95/1000, "line", line, "unit", u.Name, "percentile", "95")
		}
	})
}

// alarms are those that are raised or were.
func (m *exposition) alarms(s *live.Snapshot) {
	// Only what has happened: a series for each of dozens of codes would say 0 for ever.
	for _, f := range []struct {
		name, kind, help string
		value            func(live.AlarmCount) float64
	}{
		{prefix + "alarm_raised", "gauge", "Alarms raised now, by code.", func(c live.AlarmCount) float64 { return float64(c.Raised) }},
		{prefix + "alarm_times_total", "counter", "How often an alarm was raised, or happened, in this session; one that continues from before counts once.", func(c live.AlarmCount) float64 { return float64(c.Times) }},
	} {
		counts := slices.DeleteFunc(slices.Clone(s.Counts), func(c live.AlarmCount) bool { return c.Times == 0 && c.Raised == 0 })
		sort.SliceStable(counts, func(i, j int) bool {
			a, b := &counts[i], &counts[j]
			return cmp.Compare(a.Code, b.Code) < 0
		})
		if len(counts) > 0 {
			m.family(f.name, f.kind, f.help)
		}
		for _, c := range counts {
			m.sample(f.name, f.value(c), "code", c.Code)
		}
	}
}

// signals are the values that the configuration names.
func (m *exposition) signals(v View, names []string) {
	if len(names) == 0 {
		return
	}
	found := v.Numbers(names)
	each := func(name, help string, value func(n *live.Number) float64) {
		m.family(name, "gauge", help)
		for i := range found {
			n := &found[i]
			if n.At.IsZero() {
				continue
			}
			labels := []string{"name", n.Name}
			if n.SA != nil { // of J1939: the same from another sender is another value
				labels = append(labels, "sa", strconv.Itoa(int(*n.SA)))
			}
			m.sample(name, value(n), labels...)
		}
	}
	each(prefix+"signal", "Last value of a configured signal or register.", func(n *live.Number) float64 { return n.Value })
	each(prefix+"signal_age_seconds", "Age of that value.", func(n *live.Number) float64 { return max(time.Since(n.At).Seconds(), 0) })
}

func sortedKeys(m map[string]uint64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
