package browser

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/heapprofiler"
	"github.com/chromedp/cdproto/memory"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
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
			super.addEventListener(name, (e) => { if (window.played) return; if (events.length < 60) events.push([name, e.data]); run(e); });
		}
	};
	const set = window.setInterval, clear = window.clearInterval;
	window.setInterval = (run, ms) => { const id = set(() => { if (!window.playing) run(); }, ms); timers.set(id, [run, ms]); return id; };
	window.clearInterval = (id) => { timers.delete(id); clear(id); };
	// What the timers fetch is waited for, as in an hour there is time for it.
	const real = window.fetch, under = new Set();
	window.fetch = (...args) => { const f = real(...args); under.add(f); f.then(() => under.delete(f), () => under.delete(f)); return f; };
	const pause = (ms) => new Promise((done) => setTimeout(done, ms));
	const quiet = async () => { do { await Promise.allSettled([...under]); await pause(0); } while (under.size); };
	// play lets seconds go by, two beats of the stream each.
	window.play = async (from, to) => {
		// From now on it is the same hour again and again: the numbers of the stream
		// itself would be those of a bus that was opened again.
		window.playing = window.played = true;
		for (let s = from; s < to; s++) {
			for (let i = 0; i < 2; i++) {
				const [name, data] = events[(2 * s + i) % events.length];
				stream.mine.get(name)(new MessageEvent(name, { data: window.shift(name, data) }));
			}
			for (const [run, ms] of [...timers.values()]) if (s % Math.max(1, Math.round(ms / 1000)) === 0) run();
			if (s % 10 === 0) await quiet();
		}
		await quiet();
		await pause(300);
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

// A page that is left open does not grow: after as many events and timers as an
// hour has, its heap is at most a tenth above what it was after five minutes, and
// so are its nodes and listeners, those of no document included. Two kinds of
// things lie in the same heap and are left out, as the browser makes them by its
// own bounds: machine code, 100 to 300 kB of what runs often, and the performance
// timeline, which keeps the first 150 to 250 entries of each kind, long tasks
// among them, of which an hour that is played in seconds is full.
func testPageDoesNotGrow(t *testing.T, b context.Context, s *site) {
	for _, name := range []string{"overview", "can", "can?view=roll", "sources", "modbus", "buffer", "uplink", "logs"} {
		t.Run(name, func(t *testing.T) {
			p := openFor(t, b, s, 1440, 900, "dark", true, hourTime)
			p.do(chromedp.ActionFunc(func(ctx context.Context) error {
				_, err := page.AddScriptToEvaluateOnNewDocument(recorder).Do(ctx)
				return err
			}))
			p.visit("#/" + name)
			p.until(`events.length >= 20 && document.querySelector('main h1')`)
			settle(p)
			p.play(0, 300)
			early := p.size()
			p.play(300, 3600)
			late := p.size()
			t.Logf("%v: after 5 minutes %v, after an hour %v", sizes, early, late)
			for i, was := range early {
				if late[i] > was+was/10 {
					t.Errorf("%s: %d became %d", sizes[i], was, late[i])
				}
			}
		})
	}
}

// hourTime is how long a machine may take to play an hour.
const hourTime = 5 * time.Minute

// play lets seconds of the page's life go by at once.
func (p *tab) play(from, to int) {
	p.t.Helper()
	p.do(chromedp.Evaluate(fmt.Sprintf(`play(%d, %d)`, from, to), nil, func(e *runtime.EvaluateParams) *runtime.EvaluateParams { return e.WithAwaitPromise(true) }))
}

// sizes are what size returns.
var sizes = [...]string{"bytes of heap", "nodes", "listeners"}

// size is what the page holds: the least of a few looks at it, as something that
// is being redrawn is there twice, and what has leaked is there in each. Pictures of
// the heap come last: they keep nodes alive for a while.
func (p *tab) size() (n [len(sizes)]int64) {
	p.t.Helper()
	least := func(k int, first bool, v int64) {
		if first || v < n[k] {
			n[k] = v
		}
	}
	for i := range 5 {
		p.play(0, 0)
		p.do(chromedp.ActionFunc(func(ctx context.Context) error {
			if err := collect(ctx); err != nil {
				return err
			}
			_, nodes, listeners, err := memory.GetDOMCounters().Do(ctx)
			least(1, i == 0, nodes)
			least(2, i == 0, listeners)
			return err
		}))
	}
	for i := range 3 {
		p.do(chromedp.ActionFunc(func(ctx context.Context) error {
			v, err := heap(ctx)
			least(0, i == 0, v)
			return err
		}))
	}
	return n
}

func collect(ctx context.Context) error {
	for range 3 {
		if err := heapprofiler.CollectGarbage().Do(ctx); err != nil {
			return err
		}
	}
	return nil
}

// timeline names the entries of the performance timeline (W3C Performance
// Timeline, maxBufferSize of the registry) and what only they hold.
var timeline = []string{
	"PerformanceResourceTiming", "PerformanceLongTaskTiming", "TaskAttributionTiming", "PerformanceLongAnimationFrameTiming",
	"PerformanceScriptTiming", "LayoutShift", "LayoutShiftAttribution", "DOMRectReadOnly",
}

// heap adds up a picture of the heap, without the performance timeline and what
// the engine has made of the code: bytecode, machine code and what it has learnt
// about either.
func heap(ctx context.Context) (sum int64, err error) {
	var text strings.Builder
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	chromedp.ListenTarget(within, func(ev any) {
		if c, ok := ev.(*heapprofiler.EventAddHeapSnapshotChunk); ok {
			text.WriteString(c.Chunk)
		}
	})
	if err := collect(ctx); err != nil {
		return 0, err
	}
	if err := heapprofiler.TakeHeapSnapshot().Do(ctx); err != nil {
		return 0, err
	}
	var picture struct {
		Snapshot struct {
			Meta struct {
				Fields []string `json:"node_fields"`
				Types  []any    `json:"node_types"`
			}
		}
		Nodes   []int64
		Strings []string
	}
	if err := json.Unmarshal([]byte(text.String()), &picture); err != nil {
		return 0, fmt.Errorf("the picture of the heap has %d bytes: %w", text.Len(), err)
	}
	m := &picture.Snapshot.Meta
	kind, name, size := slices.Index(m.Fields, "type"), slices.Index(m.Fields, "name"), slices.Index(m.Fields, "self_size")
	code := slices.Index(m.Types[kind].([]any), "code")
	for at := 0; at < len(picture.Nodes); at += len(m.Fields) {
		if picture.Nodes[at+kind] != int64(code) && !slices.Contains(timeline, picture.Strings[picture.Nodes[at+name]]) {
			sum += picture.Nodes[at+size]
		}
	}
	return sum, nil
}
