package modbus

import (
	"fmt"
	"slices"
	"time"
)

// largestPower is the largest power of ten a scale register may hold; SunSpec
// allows -10 to 10.
const largestPower = 10

// agreeRounds is how often a value and its scale register, which do not fit
// into one request, are read until they agree.
const agreeRounds = 2

// closeEnough is how long before a scale register was read that is then read
// again behind its value: in between it may have changed twice.
const closeEnough = 200 * time.Millisecond

// scaleKey is what makes a scale register: it is read as often as the values
// it scales.
func scaleKey(table Table, address uint16, interval time.Duration) string {
	return fmt.Sprintf("%v %d %v", table, address, interval)
}

// addScaleRegisters adds points for the scale registers the values name.
func (d *device) addScaleRegisters() {
	known := map[string]bool{}
	for i := range d.cfg.Registers {
		r := &d.cfg.Registers[i]
		key := scaleKey(r.Table, r.ScaleRegister, r.Interval)
		if !r.HasScaleRegister || known[key] {
			continue
		}
		known[key] = true
		p := newPoint(&Register{
			Name: "(scale factor)", Table: r.Table, Address: r.ScaleRegister, Base: r.Base, Type: Int16, ByteOrder: r.ByteOrder,
			Interval: r.Interval, Invalid: Invalid{Bits: []uint64{0x8000}},
		})
		p.hidden = true
		d.points = append(d.points, p)
	}
}

func (d *device) linkScaleRegisters() {
	at := map[string]int{}
	for i, p := range d.points {
		if p.hidden {
			at[scaleKey(p.reg.Table, p.reg.Address, p.reg.Interval)] = i
		}
	}
	for i := range d.points {
		if r := d.points[i].reg; r.HasScaleRegister {
			by := at[scaleKey(r.Table, r.ScaleRegister, r.Interval)]
			d.points[i].scaleBy = by
			first := &d.points[min(i, by)]
			first.partners = append(first.partners, max(i, by))
		}
	}
}

// partner is the last point that the i-th should share a request with, or i.
// A value and its scale register do so wherever one request can take both,
// also across a gap: read apart they may be of two moments, a factor of ten
// away from the truth.
func (d *device) partner(i int) int {
	last := i
	for _, k := range d.points[i].partners {
		if d.fits(i, k) {
			last = max(last, k)
		}
	}
	return last
}

// fits reports whether one request can take the points from i to k.
func (d *device) fits(i, k int) bool {
	p, q := &d.points[i], &d.points[k]
	return max(p.first+p.width, q.first+q.width)-p.first <= d.limit(p.reg.Table) && !slices.Contains(d.cuts[i:k], true)
}

// tearing is what parting a value from its scale register costs: more than
// any other way to part the points.
const tearing = time.Hour

// tears is the cost of a block that begins with the k-th point of a run.
func (d *device) tears(run []int, k int) (cost time.Duration) {
	if k == 0 {
		return 0
	}
	for _, i := range run[:k] {
		for _, p := range d.points[i].partners {
			if p >= run[k] && d.fits(i, p) {
				cost += tearing
			}
		}
	}
	return cost
}

// apart are the scale registers that come in another request than a value
// they scale.
func (d *device) apart(blocks []block) (factors []int) {
	in := map[int]int{}
	for n, b := range blocks {
		for _, i := range b.members {
			in[i] = n
		}
	}
	for i, n := range in {
		if by := d.points[i].scaleBy; by >= 0 && in[by] != n {
			factors = append(factors, by)
		}
	}
	slices.Sort(factors)
	return slices.Compact(factors)
}

// agree sees to it that each value and its scale register are of one moment:
// of one request, or the register is the same before and after the value.
func (l *Line) agree(d *device, due []int) error {
	torn := d.torn(due)
	if len(torn) == 0 {
		return nil
	}
	missed := d.seen.missed
	d.seen.missed = false
	defer func() { d.seen.missed = d.seen.missed || missed }()
	for _, by := range d.factors(torn) {
		values := slices.DeleteFunc(slices.Clone(torn), func(i int) bool { return d.points[i].scaleBy != by })
		for round := 0; len(values) > 0 && round < agreeRounds && !d.seen.missed; round++ {
			var err error
			if values, err = l.enclose(d, by, values); err != nil {
				return err
			}
		}
	}
	return nil
}

// enclose reads a scale register behind the values it scales, and before them
// where that was not done just now, and returns those it does not agree with.
func (l *Line) enclose(d *device, by int, values []int) (left []int, err error) {
	factor := &d.results[by]
	read := func(points ...int) {
		for _, b := range d.merge(points) {
			if err == nil {
				err = l.read(d, b)
			}
		}
	}
	late := func(i int) bool { return d.results[i].request > factor.request }
	old := time.Since(factor.at) > closeEnough
	if old || !slices.ContainsFunc(values, late) {
		if old || factor.request != d.taken { // something has been read since
			read(by)
		}
		read(values...)
	}
	before := *factor
	read(by)
	for _, i := range values {
		r := &d.results[i]
		if r.fail != "" || factor.fail != "" {
			continue
		}
		r.power = int(factor.value.Int)
		r.agreed = before.fail == "" && before.value.Int == factor.value.Int && before.request < r.request && r.request < factor.request
		if !r.agreed {
			left = append(left, i)
		}
	}
	return left, err
}

// torn notes the factors of the values that came with theirs, and returns the
// other ones.
func (d *device) torn(due []int) (torn []int) {
	for _, i := range due {
		r, by := &d.results[i], d.points[i].scaleBy
		if by < 0 || !r.done || r.fail != "" {
			continue
		}
		switch f := &d.results[by]; {
		case !f.done || f.fail != "":
		case f.request == r.request:
			r.agreed, r.power = true, int(f.value.Int)
		default:
			torn = append(torn, i)
		}
	}
	return torn
}

func (d *device) factors(values []int) (factors []int) {
	for _, i := range values {
		factors = append(factors, d.points[i].scaleBy)
	}
	slices.Sort(factors)
	return slices.Compact(factors)
}

// scale applies the scale registers.
func (d *device) scale(due []int) {
	for _, i := range due {
		p, r := &d.points[i], &d.results[i]
		if p.scaleBy < 0 || r.fail != "" {
			continue
		}
		by := &d.results[p.scaleBy]
		switch power := r.power; {
		case !r.agreed && by.fail != "":
			r.fail = "scale factor: " + by.fail
		case !r.agreed:
			r.fail = "scale factor: it changed while the value was read"
		case power < -largestPower || power > largestPower:
			r.fail = fmt.Sprintf("scale factor: 10^%d is out of range", power)
		case power != p.power || p.scaled.reg == nil:
			p.power, p.scaled = power, p.convert.times(power)
			fallthrough
		default:
			r.value, r.fail = p.scaled.value(r.raw[:2*p.width])
		}
		r.none = r.agreed && r.fail != ""
	}
}
