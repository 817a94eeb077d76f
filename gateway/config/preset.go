package config

import (
	"fmt"
	"strings"
	"time"
)

const presetAWS = "aws-iot"

// preset is what a broker of some provider is known to allow.
type preset struct {
	_ [0]func() // nobody compares them: saves the code for it

	name        string
	tells       bool  // it ends the connection of who may not publish
	inFlight    int64 // messages not acknowledged
	messages    int64 // a second
	bytes       int64 // of a payload
	longestLife time.Duration
}

// presets by name. AWS IoT Core: message broker and protocol limits and
// quotas, per connection.
var presets = map[string]preset{
	presetAWS: {name: presetAWS, tells: true, inFlight: 100, messages: 100, bytes: 128 << 10, longestLife: 20 * time.Minute},
}

// preset fills in what a preset says, and checks what the file says against it.
func (l *loader) preset(f fields, p preset, u *Uplink) {
	if p.name == "" {
		return
	}
	over := func(key string, has bool, shown, most string) {
		if has {
			f.at(key).fail(fmt.Sprintf("%s is more than the %s that %s allows", shown, most, p.name), "lower it, or remove preset")
		}
	}
	if u.MaxMessages == 0 {
		u.MaxMessages = int(p.messages)
	}
	over("max_messages", u.MaxMessages > int(p.messages), fmt.Sprint(u.MaxMessages), fmt.Sprint(p.messages))
	over("in_flight", u.InFlight > int(p.inFlight), fmt.Sprint(u.InFlight), fmt.Sprint(p.inFlight))
	over("batch", u.Batch.MaxBytes > p.bytes, bytesText(u.Batch.MaxBytes), bytesText(p.bytes))
	over("keep_alive", u.KeepAlive > p.longestLife, DurationText(u.KeepAlive), DurationText(p.longestLife))
}

// rate returns a number of bytes a second, 0 when there is none.
func (v value) rate(low, high int64) int64 {
	v.boundedSize(low, high, "/s")
	if !v.is(scalar) {
		return 0
	}
	text, found := strings.CutSuffix(v.n.text, "/s")
	if !found {
		v.fail(shown(v.n.text)+" is not a rate", "write a size a second, such as 64KiB/s")
		return 0
	}
	n := *v.n
	n.text = text
	v.n = &n
	return v.bytes(low, high, 64<<10)
}
