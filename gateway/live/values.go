package live

import (
	"slices"
	"strings"
	"sync"
	"time"

	"fieldferry/bus/modbus"
)

// Values are the last values of one Modbus line. [Values.Note] belongs to the
// goroutine of the line, the rest may be called from any.
type Values struct {
	mu     sync.Mutex
	points []Point // by device and place in the configuration
	index  map[[2]string]int
}

// Point is one register with its last value.
type Point struct {
	Device, Name string
	Unit         string // physical
	Type         string
	Interval     time.Duration // how often it is read
	Value        modbus.Value  // counts if At is not zero and Error is empty
	At           time.Time     // when it was read last, well or not; zero: not yet
	Good         time.Time     // when it was read well
	Error        string        // why the last reading failed; empty: it did not
}

// NewValues prepares a point for each register of the line.
func NewValues(c *modbus.LineConfig) *Values {
	v := &Values{index: map[[2]string]int{}}
	for i := range c.Devices {
		d := &c.Devices[i]
		for j := range d.Registers {
			r := &d.Registers[j]
			v.index[[2]string{d.Name, r.Name}] = len(v.points)
			v.points = append(v.points, Point{Device: d.Name, Name: r.Name, Unit: r.Unit, Type: r.Type.String(), Interval: r.Interval})
		}
	}
	return v
}

// Note takes a reading, of which it keeps copies.
func (v *Values) Note(r *modbus.Reading) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range r.Values {
		if p := v.point(r.Device, r.Values[i].Name); p != nil {
			p.Value, p.At, p.Good, p.Error = own(r.Values[i]), r.Time, r.Time, ""
		}
	}
	for _, f := range r.Failures {
		if p := v.point(r.Device, f.Name); p != nil {
			p.At, p.Error = r.Time, strings.Clone(f.Err)
		}
	}
}

// own is a copy that shares nothing with the line's scratch memory.
func own(v modbus.Value) modbus.Value {
	v.Text, v.Flags = strings.Clone(v.Text), slices.Clone(v.Flags)
	return v
}

func (v *Values) point(device, name string) *Point {
	if n, ok := v.index[[2]string{device, name}]; ok {
		return &v.points[n]
	}
	return nil
}

// Points returns a copy of every point, in the order of the configuration.
func (v *Values) Points() []Point {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.points)
}

// Newest is when the last value was read, well or not; zero: none yet.
func (v *Values) Newest() (at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for i := range v.points {
		if v.points[i].At.After(at) {
			at = v.points[i].At
		}
	}
	return at
}
