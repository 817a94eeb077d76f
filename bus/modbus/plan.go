package modbus

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"time"

	"fieldferry/bus/modbus/rtu"
)

// PlanReport is what polling a line costs at its baud rate, worked out from
// the configuration alone.
type PlanReport struct {
	Requests []PlanRequest
	// RequestsPerSecond and Load add up all requests at their intervals. They
	// are the most it can be: intervals that fall due together share requests.
	RequestsPerSecond float64
	Load              float64  // share of a serial line's time, 1 is all of it
	Warnings          []string // what is wrong; what to do
}

// PlanRequest is one request of the plan.
type PlanRequest struct {
	Device    string
	UnitID    uint8
	Table     Table
	Address   uint16
	Count     int      // registers or bits
	Registers []string // the values it yields
	Interval  time.Duration
	Bytes     int           // on the wire, both ways
	Wire      time.Duration // serial line: request, reply, t3.5 after each, turnaround; else 0
}

// Plan works out the requests that cfg leads to and whether they fit on the
// line. It does no I/O and takes a configuration that is not valid as far as
// it goes.
func Plan(cfg LineConfig) PlanReport {
	cfg = cfg.withDefaults()
	var report PlanReport
	endpoint, _ := ParseEndpoint(cfg.Port)
	for i := range cfg.Devices {
		d := newDevice(&cfg.Devices[i], endpoint.costOf(cfg))
		for _, g := range d.groups {
			blocks := d.merge(g.members)
			for _, b := range append(blocks, d.merge(d.apart(blocks))...) {
				request := d.planRequest(b, g.interval, endpoint.Framing, &cfg)
				report.Requests = append(report.Requests, request)
				report.RequestsPerSecond += float64(time.Second) / float64(g.interval)
				report.Load += float64(request.Wire) / float64(g.interval)
				if endpoint.Framing == Serial {
					report.Warnings = append(report.Warnings, d.checkTimeout(b, &cfg)...)
				}
			}
		}
	}
	const instead = "use longer intervals, a higher baud rate or fewer registers"
	switch {
	case report.Load > 1:
		report.Warnings = append(report.Warnings, fmt.Sprintf(
			"the line would be busy for %.0f %% of the time: it cannot keep the intervals; %s (with %.0f times as long intervals it can)",
			report.Load*100, instead, math.Ceil(report.Load/fullLoad)))
	case report.Load > fullLoad:
		report.Warnings = append(report.Warnings, fmt.Sprintf(
			"the line is busy for %.0f %% of the time before any device has taken time to answer; %s", report.Load*100, instead))
	}
	return report
}

// fullLoad leaves devices some time to answer.
const fullLoad = 0.8

// checkTimeout warns of a reply that takes longer than is waited for it.
func (d *device) checkTimeout(b block, cfg *LineConfig) []string {
	reply := time.Duration(rtu.ReplyLen(b.table.Function(), b.count)) * cfg.mode().CharTime()
	timeout := cmp.Or(d.cfg.Timeout, cfg.Timeout)
	if reply+cfg.mode().Silence() <= timeout {
		return nil
	}
	return []string{fmt.Sprintf("device %s: a reply with %d %s takes %v at %d baud, but the timeout is %v; set a longer timeout or a smaller max_registers",
		d.cfg.Name, b.count, unitsOf(b.table), reply.Round(time.Millisecond), cfg.BaudRate, timeout)}
}

func unitsOf(t Table) string {
	if t.Bits() {
		return "bits"
	}
	return "registers"
}

// moreInTCP is by how many bytes a request and its reply in MBAP framing are
// longer than in RTU framing.
const moreInTCP = 2 * 4

func (d *device) planRequest(b block, interval time.Duration, framing Framing, cfg *LineConfig) PlanRequest {
	function := b.table.Function()
	r := PlanRequest{
		Device: d.cfg.Name, UnitID: d.cfg.UnitID, Table: b.table, Address: uint16(b.first), Count: b.count,
		Interval: interval, Bytes: 8 + rtu.ReplyLen(function, b.count),
	}
	switch framing {
	case Serial:
		r.Wire = cfg.mode().WireTime(function, b.count) + cfg.Turnaround
	case TCP:
		r.Bytes += moreInTCP
	}
	for _, i := range b.members {
		r.Registers = append(r.Registers, d.points[i].reg.Name)
	}
	return r
}

// block is one request: consecutive registers or bits of one table, and the
// points that lie in it.
type block struct {
	table        Table
	first, count int
	members      []int
	stretched    bool // reads something else than its members ask for: see distinguish
}

// merge parts points (indices in address order) into the blocks that take the
// least time on the wire: across gaps up to MaxGap, up to MaxRegisters or 2000
// bits, never across what was learned to be unreadable, never through a value.
func (d *device) merge(due []int) (blocks []block) {
	for len(due) > 0 {
		n := d.joinable(due)
		if b := d.sub(due[:n]); b.count <= d.limit(b.table) {
			blocks = append(blocks, b)
		} else {
			blocks = append(blocks, d.part(due[:n])...)
		}
		due = due[n:]
	}
	return blocks
}

// joinable is how many of the first points belong into one block, whatever
// their number.
func (d *device) joinable(due []int) int {
	table, end, together := d.points[due[0]].reg.Table, 0, 0
	for k, i := range due {
		p := &d.points[i]
		if k > 0 && (p.reg.Table != table || i > together && !d.worthReading(p.first-end, table) || slices.Contains(d.cuts[due[k-1]:i], true)) {
			return k
		}
		end = max(end, p.first+p.width)
		together = max(together, d.partner(i))
	}
	return len(due)
}

// part makes blocks of points that are too many for one, so that what need not
// be read stands between blocks rather than in them.
func (d *device) part(run []int) (blocks []block) {
	type way struct {
		took time.Duration // for the points so far
		from int           // the first point of the last block
	}
	best := make([]way, len(run)+1)
	for i := range run {
		end := 0
		for k := i; k >= 0; k-- {
			p := &d.points[run[k]]
			end = max(end, p.first+p.width)
			count := end - p.first
			if k < i && count > d.limit(p.reg.Table) {
				break
			}
			took := best[k].took + d.cost.request + d.cost.of(count, p.reg.Table) + d.tears(run, k)
			if k == i || took < best[i+1].took {
				best[i+1] = way{took, k}
			}
		}
	}
	for i := len(run); i > 0; i = best[i].from {
		blocks = append(blocks, d.sub(run[best[i].from:i]))
	}
	slices.Reverse(blocks)
	return blocks
}

func (d *device) limit(t Table) int {
	switch {
	case t.Bits():
		return rtu.MaxBits
	case d.most > 0:
		return min(d.most, d.cfg.MaxRegisters)
	}
	return d.cfg.MaxRegisters
}

// cost is what reading takes on the wire.
type cost struct {
	register time.Duration // one more register in a reply
	request  time.Duration // one more request
}

// leastAnswer is the least time a device takes to answer, in the comparison
// of a gap with a request.
const leastAnswer = 2 * time.Millisecond

// of is what registers or bits take in a reply.
func (c cost) of(n int, t Table) time.Duration {
	if t.Bits() {
		return time.Duration(n) * c.register / 16
	}
	return time.Duration(n) * c.register
}

// costOf works out the costs on the line of cfg.
func (e Endpoint) costOf(cfg LineConfig) cost {
	if e.Framing != Serial {
		return cost{request: leastAnswer} // what is on the line behind is not known
	}
	mode := cfg.withDefaults().mode()
	none := mode.WireTime(rtu.ReadHoldingRegisters, 0)
	return cost{register: 2 * mode.CharTime(), request: none + cfg.Turnaround + leastAnswer}
}

// worthReading reports whether reading across a gap is allowed and cheaper
// than a second request.
func (d *device) worthReading(gap int, t Table) bool {
	return gap <= 0 || gap <= d.cfg.MaxGap && d.cost.of(gap, t) < d.cost.request
}

// sub is the block that members make up.
func (d *device) sub(members []int) block {
	first := d.points[members[0]]
	b := block{table: first.reg.Table, first: first.first, members: members}
	for _, i := range members {
		b.count = max(b.count, d.points[i].first+d.points[i].width-b.first)
	}
	return b
}

// point is a register with what is known of it.
type point struct {
	reg          *Register
	first, width int
	convert      conversion
	hidden       bool  // a scale register: read, but not published
	scaleBy      int   // the point with the power of ten, -1 for none
	partners     []int // the points behind it that it should come with
	power        int   // that scaled belongs to
	scaled       conversion

	refused  string    // why it cannot be read by itself; empty if it can
	retry    time.Time // when a refused point is asked for again
	rest     time.Duration
	read     bool      // it could be read when it was last asked for
	unread   int       // polls in a row that did not bring it, while the device answered
	fault    string    // why the last of them did not
	warned   time.Time // when its refusal was last logged
	told     Value     // last published, for OnChange
	toldFail bool
	hasTold  bool
	toldAt   time.Time
}

// group is the points of a device that share an interval.
type group struct {
	interval time.Duration
	due      time.Time
	members  []int // in address order
}

func newDevice(cfg *Device, cost cost) *device {
	d := &device{cfg: cfg, cost: cost, refusals: -1}
	for i := range cfg.Registers {
		d.points = append(d.points, newPoint(&cfg.Registers[i]))
	}
	d.addScaleRegisters()
	sort.SliceStable(d.points, func(i, j int) bool {
		a, b := &d.points[i], &d.points[j]
		return cmp.Or(cmp.Compare(a.reg.Table, b.reg.Table), cmp.Compare(a.first, b.first), cmp.Compare(a.width, b.width)) < 0
	})
	d.linkScaleRegisters()
	d.cuts, d.holes = make([]bool, len(d.points)), make([]bool, len(d.points))
	d.results = make([]result, len(d.points))
	for i := range d.points {
		interval := d.points[i].reg.Interval
		k := slices.IndexFunc(d.groups, func(g group) bool { return g.interval == interval })
		if k < 0 {
			k = len(d.groups)
			d.groups = append(d.groups, group{interval: interval})
		}
		d.groups[k].members = append(d.groups[k].members, i)
	}
	sort.SliceStable(d.groups, func(i, j int) bool {
		a, b := &d.groups[i], &d.groups[j]
		return cmp.Compare(a.interval, b.interval) < 0
	})
	return d
}

func newPoint(r *Register) point {
	width := r.Width()
	if r.Table.Bits() {
		width = 1
	}
	return point{reg: r, first: int(r.Address), width: width, convert: newConversion(r), scaleBy: -1}
}
