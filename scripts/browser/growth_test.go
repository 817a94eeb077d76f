package browser

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// recorder keeps the events of the stream and the timers of the page, so that an
// hour of them can be played in a few seconds.
const recorder = `(() => {
	const Real = EventSource, events = window.events = [], timers = window.timers = new Map();
	window.EventSource = class extends Real {
		constructor(url) { super(url); window.stream = this; this.mine = new Map(); }
		addEventListener(name, run) {
			this.mine.set(name, run);
			super.addEventListener(name, (e) => { if (!window.playing) { if (events.length < 60) events.push([name, e.data]); run(e); } });
		}
	};
	const set = window.setInterval, clear = window.clearInterval;
	window.setInterval = (run, ms) => { const id = set(() => { if (!window.playing) run(); }, ms); timers.set(id, [run, ms]); return id; };
	window.clearInterval = (id) => { timers.delete(id); clear(id); };
	// play lets seconds go by, two beats of the stream each.
	window.play = async (from, to) => {
		window.playing = true;
		for (let s = from; s < to; s++) {
			for (let i = 0; i < 2; i++) {
				const [name, data] = events[(2 * s + i) % events.length];
				stream.mine.get(name)(new MessageEvent(name, { data: window.shift(name, data) }));
			}
			for (const [run, ms] of [...timers.values()]) if (s % Math.max(1, Math.round(ms / 1000)) === 0) run();
			if (s % 30 === 0) await new Promise((done) => setTimeout(done));
		}
		await new Promise((done) => setTimeout(done, 300));
		window.playing = false;
	};
	// shift gives the frames of a roll numbers that go on, as they would.
	let next = 0;
	window.shift = (name, data) => {
		if (!name.startsWith('roll:')) return data;
		const d = JSON.parse(data);
		next = Math.max(next, d.next) + d.lines.length;
		return JSON.stringify({ next, lines: d.lines });
	};
})()`

// A page that is left open for an hour does not grow: after as many events and
// timers as an hour has, its heap is at most a tenth above what it was after five
// minutes, and it has no more elements.
func testPageDoesNotGrow(t *testing.T, b context.Context, s *site) {
	for _, name := range []string{"overview", "can", "can?view=roll", "sources", "modbus", "buffer", "uplink", "logs"} {
		t.Run(name, func(t *testing.T) {
			p := open(t, b, s, 1440, 900, "dark", true)
			p.do(chromedp.ActionFunc(func(ctx context.Context) error {
				_, err := page.AddScriptToEvaluateOnNewDocument(recorder).Do(ctx)
				return err
			}))
			p.visit("#/" + name)
			p.until(`events.length >= 20 && document.querySelector('main h1')`)
			settle(p)
			p.play(0, 300)
			heap, elements := p.size()
			p.play(300, 3600)
			heap60, elements60 := p.size()
			t.Logf("heap %d kB after 5 minutes, %d kB after an hour; %d and %d elements", heap/1000, heap60/1000, elements, elements60)
			if heap60 > heap+heap/10 {
				t.Errorf("the heap grew from %d to %d bytes", heap, heap60)
			}
			if elements60 > elements+elements/10 {
				t.Errorf("%d elements became %d", elements, elements60)
			}
		})
	}
}

// play lets seconds of the page's life go by at once.
func (p *tab) play(from, to int) {
	p.t.Helper()
	p.value(fmt.Sprintf(`(window.played = false, play(%d, %d).then(() => { window.played = true; }), 0)`, from, to))
	p.until(`window.played`)
}

// size is the heap in use after a collection, and the number of elements.
func (p *tab) size() (heap, elements int) {
	p.t.Helper()
	for range 3 {
		p.do(heapprofiler.CollectGarbage())
	}
	var used float64
	p.do(chromedp.Evaluate(`performance.memory ? performance.memory.usedJSHeapSize : 0`, &used))
	elements, _ = strconv.Atoi(p.value(`document.querySelectorAll('*').length`))
	return int(used), elements
}
