package commission

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"time"

	"fieldferry/bus/modbus/modbustest"
	"fieldferry/bus/modbus/rtu"
)

func at(d time.Duration, p ...[]byte) modbustest.Step {
	return modbustest.Step{At: d, Send: bytes.Join(p, nil)}
}

const think = 5 * ms

// first misbehaves once; all that follows is right.
func first(f func(q []byte) steps) script {
	return func(n int, q []byte) steps {
		if n == 0 {
			return f(q)
		}
		return steps{at(think, right(q))}
	}
}

func always(f func(q []byte) steps) script {
	return func(_ int, q []byte) steps { return f(q) }
}

func flip(p []byte, i int, bit byte) []byte {
	p = bytes.Clone(p)
	p[i] ^= bit
	return p
}

// as is the right reply to q but for its unit, function and count.
func as(q []byte, unit, function byte, count int) []byte {
	p := bytes.Clone(q)
	p[0], p[1] = unit, function
	p[4], p[5] = byte(count>>8), byte(count)
	return right(p)
}

func spread(from time.Duration, p []byte, gap time.Duration) (s steps) {
	for i := range p {
		s = append(s, at(from+time.Duration(i)*gap, p[i:i+1]))
	}
	return s
}

func noise(seed uint64, n int) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rnd.Uint32())
	}
	return p
}

func wireCases() (cases []wireCase) {
	add := func(c wireCase) { cases = append(cases, c) }
	// once is a fault of the first reply: an error without retries, the value with one.
	once := func(name, want string, f func(q []byte) steps) {
		add(wireCase{name: name, script: first(f), want: want + " v v", within: 3500 * ms})
		add(wireCase{name: name + ", again", retries: 1, script: first(f), want: strings.ReplaceAll(want, "e", "v") + "|v v v", within: 3500 * ms})
		add(wireCase{name: name + ", other shapes", items: "17/holding:352:2 17/holding:10:3 17/input:3 18/holding:352:2", script: first(f), want: want + " v v v", within: 1500 * ms})
	}
	// never is a fault that must not cost the value.
	never := func(name string, f func(q []byte) steps) {
		add(wireCase{name: name, script: first(f), want: "v v v", within: 1500 * ms})
		add(wireCase{name: name + ", always", script: always(f), want: "v v v", within: 3000 * ms})
	}
	q0 := rtu.AppendReadRequest(nil, 17, 3, 352, 1)
	size := len(right(q0))

	for i := range size {
		for _, bit := range []byte{1, 0x80} {
			once(fmt.Sprintf("byte %d damaged by %#x", i, bit), "e", func(q []byte) steps { return steps{at(think, flip(right(q), i, bit))} })
		}
	}
	once("CRC swapped", "crc", func(q []byte) steps {
		p := right(q)
		n := len(p)
		p[n-1], p[n-2] = p[n-2], p[n-1]
		return steps{at(think, p)}
	})
	never("damaged, then right", func(q []byte) steps { return steps{at(think, flip(right(q), 4, 1)), at(60*ms, right(q))} })
	never("damaged, then right in one piece", func(q []byte) steps { return steps{at(think, flip(right(q), 4, 1), right(q))} })
	for n := 1; n < size; n++ {
		once(fmt.Sprint("truncated to ", n), "cut", func(q []byte) steps { return steps{at(think, right(q)[:n])} })
		never(fmt.Sprint("truncated to ", n, ", then right"), func(q []byte) steps { return steps{at(think, right(q)[:n]), at(40*ms, right(q))} })
		never(fmt.Sprint("truncated to ", n, ", right in one piece"), func(q []byte) steps { return steps{at(think, right(q)[:n], right(q))} })
		never(fmt.Sprint("split at ", n), func(q []byte) steps { return steps{at(think, right(q)[:n]), at(100*ms, right(q)[n:])} })
	}
	for _, gap := range []time.Duration{0, 1 * ms, 5 * ms, 20 * ms, 100 * ms, 200 * ms} {
		g := think + gap
		never(fmt.Sprint("wrong unit, right after ", gap), func(q []byte) steps { return steps{at(think, as(q, 18, 3, 1)), at(g, right(q))} })
		never(fmt.Sprint("wrong function, right after ", gap), func(q []byte) steps { return steps{at(think, as(q, 17, 4, 1)), at(g, right(q))} })
		never(fmt.Sprint("wrong count, right after ", gap), func(q []byte) steps { return steps{at(think, as(q, 17, 3, 2)), at(g, right(q))} })
		never(fmt.Sprint("exception of another unit, right after ", gap), func(q []byte) steps {
			return steps{at(think, rtu.AppendCRC([]byte{18, 0x83, 2})), at(g, right(q))}
		})
		never(fmt.Sprint("exception of another function, right after ", gap), func(q []byte) steps {
			return steps{at(think, rtu.AppendCRC([]byte{17, 0x84, 2})), at(g, right(q))}
		})
		never(fmt.Sprint("damaged exception, right after ", gap), func(q []byte) steps {
			return steps{at(think, flip(modbustest.Exception(q, 2), 3, 4)), at(g, right(q))}
		})
		never(fmt.Sprint("echo, right after ", gap), func(q []byte) steps { return steps{at(0, q), at(g, right(q))} })
		never(fmt.Sprint("echo in pieces, right after ", gap), func(q []byte) steps {
			return append(spread(0, q, 1*ms), at(8*ms+g, right(q)))
		})
		once(fmt.Sprint("echo, exception after ", gap), "x2", func(q []byte) steps { return steps{at(0, q), at(g, modbustest.Exception(q, 2))} })
		for i := range 8 {
			never(fmt.Sprintf("echo damaged at %d, right after %v", i, gap), func(q []byte) steps { return steps{at(0, flip(q, i, 0x11)), at(g, right(q))} })
			never(fmt.Sprintf("first %d of the echo, right after %v", i, gap), func(q []byte) steps { return steps{at(0, q[:i]), at(g, right(q))} })
			never(fmt.Sprintf("last %d of the echo, right after %v", i, gap), func(q []byte) steps { return steps{at(0, q[8-i:]), at(g, right(q))} })
		}
		for k, head := range headers {
			never(fmt.Sprintf("noise like a header %x, right after %v", head, gap), func(q []byte) steps { return steps{at(think, head), at(g, right(q))} })
			never(fmt.Sprintf("noise like a header %x behind, after %v", head, gap), func(q []byte) steps { return steps{at(think, right(q)), at(g, head)} })
			_ = k
		}
		for n := 1; n < 40; n += 3 {
			never(fmt.Sprintf("noise %d, right after %v", n, gap), func(q []byte) steps { return steps{at(think, noise(uint64(n), n)), at(g, right(q))} })
			never(fmt.Sprintf("noise %d behind, after %v", n, gap), func(q []byte) steps { return steps{at(think, right(q)), at(g, noise(uint64(n), n))} })
			never(fmt.Sprintf("noise %d around after %v", n, gap), func(q []byte) steps { return steps{at(think, noise(uint64(n), n), right(q), noise(uint64(n+1), n))} })
		}
		for _, other := range foreign {
			name, frame := other.name, other.frame
			f := func([]byte) []byte { return frame }
			never(fmt.Sprintf("%s, right after %v", name, gap), func(q []byte) steps { return steps{at(think, f(q)), at(g, right(q))} })
			never(fmt.Sprintf("%s between noise, right after %v", name, gap), func(q []byte) steps {
				return steps{at(think, noise(3, 5), f(q), noise(4, 5)), at(g, right(q))}
			})
			never(fmt.Sprintf("%s behind, after %v", name, gap), func(q []byte) steps { return steps{at(think, right(q)), at(g, f(q))} })
		}
		never(fmt.Sprint("twice, after ", gap), func(q []byte) steps { return steps{at(think, right(q)), at(g, right(q))} })
		once(fmt.Sprint("exception twice, after ", gap), "x2", func(q []byte) steps {
			return steps{at(think, modbustest.Exception(q, 2)), at(g, modbustest.Exception(q, 2))}
		})
	}
	once("wrong unit", "mismatch", func(q []byte) steps { return steps{at(think, as(q, 18, 3, 1))} })
	once("wrong function", "mismatch", func(q []byte) steps { return steps{at(think, as(q, 17, 4, 1))} })
	for n := range 126 {
		if n > 2 || n == 0 {
			once(fmt.Sprint(n, " registers"), "mismatch", func(q []byte) steps { return steps{at(think, as(q, 17, 3, n))} })
		}
	}
	once("126 registers", "mismatch", func(q []byte) steps { return steps{at(think, as(q, 17, 3, 126))} })
	for n := range 256 {
		if n != 2 {
			once(fmt.Sprint("count lies: ", n), "e", func(q []byte) steps { return steps{at(think, rtu.AppendCRC([]byte{17, 3, byte(n), 1, 2}))} })
			never(fmt.Sprint("count lies: ", n, ", then right"), func(q []byte) steps {
				return steps{at(think, rtu.AppendCRC([]byte{17, 3, byte(n), 1, 2})), at(40*ms, right(q))}
			})
		}
		x := modbustest.Exception(q0, byte(n))
		if n != 5 && n != 6 {
			once(fmt.Sprint("exception ", n), fmt.Sprint("x", n), func([]byte) steps { return steps{at(think, x)} })
		}
		once(fmt.Sprint("exception, damaged ", n), "e", func([]byte) steps { return steps{at(think, flip(x, 3, 1))} })
		if n == 2 || n == 11 {
			for cut := 1; cut < 5; cut++ {
				for _, gap := range []time.Duration{1 * ms, 20 * ms, 150 * ms, 290 * ms} {
					once(fmt.Sprintf("exception %d split at %d by %v", n, cut, gap), fmt.Sprint("x", n), func([]byte) steps { return steps{at(think, x[:cut]), at(think+gap, x[cut:])} })
				}
				once(fmt.Sprintf("exception %d cut at %d", n, cut), "e", func([]byte) steps { return steps{at(think, x[:cut])} })
			}
		}
	}
	once("exception of another function", "mismatch", func(q []byte) steps { return steps{at(think, rtu.AppendCRC([]byte{17, 0x84, 2}))} })
	once("exception of another unit", "mismatch", func(q []byte) steps { return steps{at(think, rtu.AppendCRC([]byte{18, 0x83, 2}))} })
	once("echo alone", "echo", func(q []byte) steps { return steps{at(0, q)} })
	once("echo damaged alone", "e", func(q []byte) steps { return steps{at(0, flip(q, 3, 1))} })
	once("no reply", "timeout", func(q []byte) steps { return nil })
	add(wireCase{name: "patience: exception 5", retries: 2, script: first(func(q []byte) steps { return steps{at(think, modbustest.Exception(q, 5))} }), want: "v", within: 1500 * ms})
	add(wireCase{name: "patience: exception 6", retries: 2, script: first(func(q []byte) steps { return steps{at(think, modbustest.Exception(q, 6))} }), want: "v", within: 1500 * ms})

	for _, gap := range []time.Duration{5 * ms, 50 * ms, 150 * ms} {
		for _, c := range []string{"17/holding:1 17/holding:2", "17/holding:1:2 17/holding:3:2", "17/holding:1:10 17/holding:21:10"} {
			add(wireCase{name: fmt.Sprintf("gaps of %v %s", gap, c), items: c, timeout: time.Second, script: always(func(q []byte) steps { return spread(think, right(q), gap) }), want: "v|e v|e", within: 12 * time.Second})
			add(wireCase{name: fmt.Sprintf("gaps of %v once %s", gap, c), items: c, timeout: time.Second, script: first(func(q []byte) steps { return spread(think, right(q), gap) }), want: "v|e v", within: 8 * time.Second})
		}
	}
	for late := 310 * ms; late < 2480*ms; late += 90 * ms {
		once(fmt.Sprint("late by ", late), "timeout", func(q []byte) steps { return steps{at(late, right(q))} })
		add(wireCase{name: fmt.Sprint("late exception by ", late), script: first(func(q []byte) steps { return steps{at(late, modbustest.Exception(q, 2))} }), want: "timeout v|x2 v", within: 3500 * ms})
		add(wireCase{name: fmt.Sprint("late always by ", late), script: always(func(q []byte) steps { return steps{at(late, right(q))} }), want: "timeout timeout timeout", within: 12 * time.Second})
		add(wireCase{name: fmt.Sprint("late by ", late, ", three retries"), retries: 3, script: always(func(q []byte) steps { return steps{at(late, right(q))} }), want: "v|timeout v|timeout v|timeout", within: 18 * time.Second})
	}
	for _, d := range []time.Duration{500 * ms, 2 * time.Second} {
		for _, timeout := range []time.Duration{300 * ms, time.Second, 3 * time.Second} {
			want := "timeout"
			if d < timeout {
				want = "v"
			}
			add(wireCase{name: fmt.Sprintf("slow by %v, timeout %v", d, timeout), timeout: timeout, script: always(func(q []byte) steps { return steps{at(d, right(q))} }), want: want, within: 12 * time.Second})
			add(wireCase{name: fmt.Sprintf("slow by %v, timeout %v, retries", d, timeout), timeout: timeout, retries: 2, script: always(func(q []byte) steps { return steps{at(d, right(q))} }), want: "v|timeout", within: 16 * time.Second})
		}
	}
	babble := func(n int, p []byte) (s steps) {
		for i := range n {
			s = append(s, at(time.Duration(i)*10*ms, p))
		}
		return s
	}
	u := bytes.Repeat([]byte{0x55}, 8)
	once("babble for 0.25 s", "e", func([]byte) steps { return babble(25, u) })
	once("babble of zeros for 0.25 s", "e", func([]byte) steps { return babble(25, make([]byte, 8)) })
	once("babble of units for 0.25 s", "e", func([]byte) steps { return babble(25, bytes.Repeat([]byte{17}, 8)) })
	once("babble of headers for 0.25 s", "e", func([]byte) steps { return babble(25, bytes.Repeat([]byte{17, 3, 2}, 3)) })
	add(wireCase{name: "babble for 1 s", retries: 2, script: first(func([]byte) steps { return babble(100, u) }), want: "v", within: 4 * time.Second})
	add(wireCase{name: "babble for ever", script: always(func(q []byte) steps { return babble(4000, u) }), want: "e", within: 4 * time.Second})
	add(wireCase{name: "babble for ever, retries", retries: 2, script: always(func(q []byte) steps { return babble(4000, u) }), want: "e", within: 8 * time.Second})
	never("babble, then right", func(q []byte) steps { return append(babble(20, u), at(250*ms, right(q))) })
	never("babble with the right reply in it", func(q []byte) steps {
		return append(append(babble(10, u), at(101*ms, right(q))), babble(5, u)[1:]...)
	})
	never("30 foreign frames", func(q []byte) (s steps) {
		for i := range 30 {
			s = append(s, at(time.Duration(i+1)*5*ms, as(q, byte(40+i), 3, 1)))
		}
		return append(s, at(200*ms, right(q)))
	})
	once("30 foreign frames and nothing", "mismatch", func(q []byte) (s steps) {
		for i := range 30 {
			s = append(s, at(time.Duration(i+1)*9*ms, as(q, byte(40+i), 3, 1)))
		}
		return s
	})
	cases = append(cases, unplugCases()...)
	return cases
}

var headers = [][]byte{{17}, {17, 3}, {17, 3, 2}, {17, 3, 2, 0}, {17, 3, 2, 0, 0, 0}, {17, 3, 4}, {17, 3, 250, 1, 2}, {17, 0x83}, {17, 0x83, 2}, {17, 0x83, 2, 1}, {17, 17, 17}, {17, 3, 17, 3}, {17, 3, 1, 96}}

var foreign = []struct {
	name  string
	frame []byte
}{
	{"another unit's request", rtu.AppendReadRequest(nil, 40, 3, 500, 1)},
	{"another unit's reply", right(rtu.AppendReadRequest(nil, 40, 3, 500, 1))},
	{"another unit's exchange", append(rtu.AppendReadRequest(nil, 40, 3, 500, 1), right(rtu.AppendReadRequest(nil, 40, 3, 500, 1))...)},
	{"another unit's long reply", right(rtu.AppendReadRequest(nil, 40, 3, 500, 60))},
	{"another function's reply", right(rtu.AppendReadRequest(nil, 17, 4, 500, 1))},
	{"another count's reply", right(rtu.AppendReadRequest(nil, 17, 3, 500, 7))},
	{"another unit's exception", rtu.AppendCRC([]byte{40, 0x83, 4})},
	{"a write of another unit", rtu.AppendCRC([]byte{40, 6, 0, 1, 0, 2})},
	{"a broadcast of another master", rtu.AppendCRC([]byte{0, 6, 0, 1, 0, 2})},
}

func unplugCases() (cases []wireCase) {
	for _, away := range []time.Duration{0, 200 * ms, 2 * time.Second} {
		for _, cause := range []error{io.EOF, syscall.EIO, syscall.ENODEV} {
			for n := range 8 {
				for retries := range 3 {
					want := "lost lost|v"
					if retries > 0 && away < 300*ms {
						want = "v v"
					}
					if retries > 0 && away > 300*ms {
						want = "lost lost|v|lost"
					}
					cases = append(cases, wireCase{
						name: fmt.Sprintf("unplugged after %d bytes by %v for %v, retries %d", n, cause, away, retries), retries: retries, again: away,
						items: "17/holding:1 17/holding:2",
						script: first(func(q []byte) steps {
							if n == 7 {
								return steps{at(think, right(q)[:6]), {At: 2*think + 1*ms, Unplug: cause}}
							}
							return steps{at(think, right(q)[:n]), {At: 2 * think, Unplug: cause}}
						}), want: want, within: 5 * time.Second,
					})
				}
			}
		}
	}
	return cases
}
