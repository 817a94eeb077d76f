package config

import (
	"fmt"
	"strconv"
	"strings"
)

// repetition is how often a register is there, and how far apart.
type repetition struct {
	_ [0]func() // nobody compares them: saves the code for it

	at            value
	count, stride int
	first         int // number of the first one
}

// The most registers that all repetitions of a configuration make.
const mostRepeated = 20_000

// number stands in a name for that of the repetition.
const number = "{n}"

func (l *loader) repetition(v value) (r repetition) {
	if !v.has || !v.is(object) {
		return r
	}
	f := v.fields("count", "stride", "first")
	r.at = v
	r.count = int(f.need("count", "write count: 3").integer(1, 1000, 1))
	r.stride = int(f.need("stride", "write stride: 2, the distance of two addresses").integer(1, 65535, 1))
	r.first = int(f.at("first").integer(0, 65535, 1))
	return r
}

// setRepeat reads the repetition of one register.
func (p *placed) setRepeat(v value) {
	if !v.has {
		return
	}
	if p.again.count > 0 {
		v.fail("the group around it is repeated already", "remove one of them")
		return
	}
	p.again = v.l.repetition(v)
}

// group takes apart an entry of registers: that is a repeated group of them.
func (l *loader) group(v value, in inherited) ([]value, inherited) {
	grouped := false
	if v.n != nil && v.n.kind == object {
		for _, fd := range v.n.fields {
			grouped = grouped || fd.key == "registers"
		}
	}
	if !grouped {
		return []value{v}, in
	}
	f := v.fields("repeat", "registers")
	in.again = l.repetition(f.need("repeat", "write repeat: {count: 3, stride: 20}, or name the registers without a group"))
	items := f.at("registers").list()
	if len(items) == 0 && f.at("registers").has && f.at("registers").n.kind == list {
		f.at("registers").fail("the group has no register", "add one, or remove the group")
	}
	return items, in
}

// repeated are the registers that one entry stands for.
func (l *loader) repeated(p placed) (list []placed) {
	r := p.again
	if r.count == 0 {
		if strings.Contains(p.Name, number) {
			p.name.warn(number+" stands for a number only with repeat", "add repeat: {count: 3, stride: 2}, or rename it")
		}
		return []placed{p}
	}
	if l.repetitions += r.count; l.repetitions > mostRepeated {
		if l.repetitions-r.count <= mostRepeated {
			r.at.fail(fmt.Sprintf("the configuration repeats more than %d registers", mostRepeated), "repeat fewer")
		}
		return nil
	}
	if !strings.Contains(p.Name, number) && p.Name != "" {
		p.name.fail("all repetitions would have the name "+shown(p.Name), "put "+number+" into it, such as "+p.Name+"_"+number)
	}
	if p.width > r.stride {
		r.at.fail(fmt.Sprintf("%s takes %d registers, so that a stride of %d would overlap", p.a(), p.width, r.stride), "correct the stride or the type")
	}
	if last := int(p.Address) + (r.count-1)*r.stride; p.width > 0 && last+p.width > 1<<16 {
		r.at.fail(fmt.Sprintf("the last of them is at %d, past the last address 65535", last), "correct count or stride")
		return []placed{p}
	}
	for i := range r.count {
		next := p
		next.Name = strings.ReplaceAll(p.Name, number, strconv.Itoa(r.first+i))
		next.Address += uint16(i * r.stride)
		list = append(list, next)
	}
	return list
}

// claim notes the name of a register, which no other of its device may have.
func (p *placed) claim(names map[string]value) {
	if p.Name == "" {
		return
	}
	if first, ok := names[p.Name]; ok {
		if p.again.count == 0 || strings.Contains(p.name.n.text, number) {
			p.name.fail(fmt.Sprintf("another register %s of this device has the name %s", first.where(), shown(p.Name)), "give it a name of its own")
		}
		return
	}
	names[p.Name] = p.name
}
