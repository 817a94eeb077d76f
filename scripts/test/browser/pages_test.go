package browser

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// pages, and a text that each has when it is complete.
var pages = []struct{ name, says string }{
	{"overview", "Records in"}, {"alarms", "Modbus device does not answer"}, {"sources", "voltage_l1"}, {"can", "EEC1"}, {"can?view=roll", "EEC1"}, {"modbus", "offline for"},
	{"buffer", "Buffer"}, {"uplink", "Connected for"}, {"commands", "It is "}, {"config", "sim:engine"}, {"commissioning", "Wiring"}, {"logs", "info"}, {"support", "Make the bundle"},
}

var looks = []struct {
	name          string
	width, height int64
	scheme        string
}{
	{"d-light", 1440, 900, "light"}, {"d-dark", 1440, 900, "dark"}, {"m-light", 360, 740, "light"}, {"m-dark", 360, 740, "dark"},
}

// One daemon and one browser for all that leave the gateway as it is: starting a
// browser takes longer than most of the tests.
func TestPage(t *testing.T) {
	b := browser(t)
	s := start(t, true)
	for _, test := range []struct {
		name string
		run  func(*testing.T, context.Context, *site)
	}{
		{"pages", testPages}, {"first paint", testFirstPaint}, {"tasks", testTasks}, {"hostile text", testHostileText}, {"read by hand", testReadByHand}, {"commands", testCommands},
		{"roll of frames", testRoll}, {"sources", testSources}, {"recording", testRecording}, {"pace", testPace}, {"difference", testDifference}, {"settings of a line", testSettings}, {"accessibility", testAccessibility}, {"keyboard", testKeyboard}, {"keys act", testKeysAct},
		{"does not grow", testPageDoesNotGrow}, {"outage", testOutage}, {"lost connection", testLostConnection},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, b, s) })
	}
	t.Run("change", func(t *testing.T) { testChange(t, b, start(t, true)) })
	t.Run("set-up and login", func(t *testing.T) { testSetUpAndLogin(t, b, start(t, false)) })
}

// Every page loads in both widths and both colour schemes without an error, a
// refusal of the content security policy, a request to anywhere else, or sideways
// scrolling.
func testPages(t *testing.T, b context.Context, s *site) {
	for _, look := range looks {
		p := open(t, b, s, look.width, look.height, look.scheme, true)
		for _, page := range pages {
			p.visit("#/" + page.name)
			p.sees(page.says)
			settle(p)
			if w := p.value(`document.documentElement.scrollWidth > innerWidth ? [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.tw,.code,pre')).map((e) => e.outerHTML.slice(0, 120)).join('\n') || 'wider' : ''`); w != "" {
				t.Errorf("%s %s scrolls sideways: %s", look.name, page.name, w)
			}
			if n := p.value(`[...document.querySelectorAll('main button, main a, main input, main select')].filter((e) => e.checkVisibility() && !(e.innerText || e.ariaLabel || e.closest('label') || e.placeholder)).length`); n != "0" {
				t.Errorf("%s: %s controls without a name", page.name, n)
			}
			p.shot(look.name+"-"+strings.ReplaceAll(page.name, "?view=", "-"), true)
		}
		p.clean()
	}
}

// settle waits until charts have their first figures where there are charts.
func settle(p *tab) {
	p.t.Helper()
	p.until(`[...document.querySelectorAll('.chart')].every((c) => c.querySelector('b').textContent !== '') && document.querySelector('main h1')`)
	time.Sleep(100 * time.Millisecond) // for the picture only
}

// The first page, complete, takes less than 150 kB.
func testFirstPaint(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 360, 740, "light", true)
	p.do(network.ClearBrowserCache())
	p.visit("")
	p.sees("Records in")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.loaded > 150_000 || p.loaded < 20_000 {
		t.Errorf("loaded %.0f bytes in %d requests", p.loaded, p.requests)
	}
	t.Logf("loaded %.0f bytes in %d requests", p.loaded, p.requests)
}

// What somebody in the field asks, on a phone, with at most three taps.
func testTasks(t *testing.T, b context.Context, s *site) {
	tasks := []struct {
		name   string
		taps   []string
		answer string // JavaScript that is true when the answer is there
	}{
		{"which id changes", []string{"CAN"}, `[...document.querySelectorAll('tr.go')].some((r) => r.innerText.includes('EEC1') && r.querySelector('.by.c')?.checkVisibility())`},
		{"which unit fails and why", []string{"Modbus"}, `/tank does not answer: .*(timeout|no reply|in time)/i.test(document.querySelector('main').innerText)`},
		{"when is the buffer full", []string{"More", "Buffer"}, `/the buffer lasts about \d/.test(document.querySelector('.lede').innerText)`},
		{"what must I do about this alarm", []string{"Alarms"}, `document.querySelector('.al.full li')?.innerText.includes('Do') && document.querySelector('.al.full').innerText.includes('wiring')`},
	}
	for _, task := range tasks {
		t.Run(task.name, func(t *testing.T) {
			p := open(t, b, s, 360, 740, "light", true)
			p.visit("")
			p.sees("Records in")
			if len(task.taps) > 3 {
				t.Fatal("more than three taps")
			}
			for i, text := range task.taps {
				if text == "Alarms" && i == 0 {
					p.until(`document.querySelector('#tabs .cnt')`)
				}
				p.tap(text)
			}
			p.until(task.answer)
			p.clean()
		})
	}
}

// Names and units that are markup stay text.
func testHostileText(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 1440, 900, "light", true)
	for _, page := range []string{"sources", "config", "modbus"} {
		p.visit("#/" + page)
		if page != "modbus" {
			p.sees(hostile)
		}
		if n := p.value(`document.querySelectorAll('img').length`); n != "0" {
			t.Errorf("%s: %s became elements", page, n)
		}
	}
	p.clean()
}

// The first account is made with the code from the log; a wrong password is
// refused in words, and leaving ends the session.
func testSetUpAndLogin(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 360, 740, "light", false)
	p.visit("")
	p.sees("Code from the log")
	p.shot("m-light-setup", false)
	p.fill(map[string]string{"code": s.code, "name": user, "password": password})
	p.sees("Records in")
	p.tap("More")
	p.tap("Log out")
	p.until(`document.querySelector('#login button')?.innerText === 'Log in'`)
	p.clean()
	p.fill(map[string]string{"name": user, "password": "wrong"})
	p.sees("Name or password is wrong.")
	p.shot("m-light-login", false)
	p.fill(map[string]string{"name": user, "password": password})
	p.sees("Records in")
}

// fill types into the form of the gate by keys alone, and sends it.
func (p *tab) fill(values map[string]string) {
	p.t.Helper()
	for _, name := range []string{"code", "name", "password"} {
		if v, ok := values[name]; ok {
			p.until(fmt.Sprintf(`(() => { const i = document.querySelector('#login [name=%s]'); if (i) { i.focus(); i.value = ''; } return !!i; })()`, name))
			p.keys(v)
		}
	}
	p.keys("\r")
}

func (p *tab) keys(text string) { p.t.Helper(); p.do(chromedp.KeyEvent(text)) }

// An outage is to be seen while it lasts and afterwards.
func testOutage(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 1440, 900, "light", true)
	p.visit("#/buffer")
	p.until(`/buffer lasts about/.test(document.querySelector('.lede').innerText)`)
	s.link.Cut()
	p.until(`/buffer is full in about/.test(document.querySelector('.lede').innerText)`)
	p.until(`/Hatched: no uplink/.test(document.querySelector('main').innerText)`)
	// what an outage leaves is no longer live: it will go as a backlog, and the page says so
	p.until(`((r) => /^0/.test(r[0].cells[2].innerText) && parseInt(r[1].cells[2].innerText.replace(/,/g, '')) > 0 && /waits for the uplink/.test(r[1].cells[1].innerText))(document.querySelector('[aria-label=Lanes] tbody').rows)`)
	p.shot("d-light-outage", true)
	s.link.Restore()
	p.until(`/buffer lasts about/.test(document.querySelector('.lede').innerText)`)
	p.until(`/Hatched: no uplink/.test(document.querySelector('main').innerText)`)
	p.visit("#/overview")
	settle(p)
	p.shot("overview", false)
	p.clean()
	phone := open(t, b, s, 360, 740, "dark", true)
	phone.visit("#/can")
	phone.until(`document.querySelector('td .by.c') && /12 ids/.test(document.querySelector('.lede').innerText)`)
	phone.shot("can", false)
	phone.clean()
}

// Registers are read by hand, with every byte order side by side.
func testReadByHand(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 1440, 900, "light", true)
	p.visit("#/commissioning")
	p.sees("every byte order")
	p.value(`((f) => { f('Table').value = 'input'; f('Count').value = '2'; })((name) => [...document.querySelectorAll('main label')].find((l) => l.innerText.startsWith(name)).lastElementChild)`)
	p.tap("Read")
	p.until(`document.querySelector('td.pick')?.innerText.startsWith('2')`)
	if got := p.value(`document.querySelector('th.pick').innerText`); !strings.HasPrefix(got, "ABCD") {
		t.Errorf("plausible is %q, want ABCD", got)
	}
	p.shot("d-light-read", true)
	p.clean()
}

// A point is written in two steps, with what became of it; what is beyond its
// limits is refused, and a pause stops everything.
func testCommands(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 360, 740, "light", true)
	p.visit("#/commands")
	p.sees("0 to 100 %, in steps of 0.5")
	p.until(`/It is [0-9.]+ %, read .* ago/.test(document.querySelector('main').innerText)`) // before anything was written
	write := func(value, says string) {
		t.Helper()
		p.do(chromedp.SetValue(`main form input`, value, chromedp.ByQuery))
		p.tap("Write")
		p.sees("Write " + value + " % to meter.limit")
		p.tap("Write it")
		p.sees(says)
	}
	write("62.5", "It is 62.5 now.")
	write("62.3", "is not a whole number of steps")
	p.sees("Falls back to 100 in ")
	p.shot("m-light-commands-written", true)
	p.tap("Pause all commands")
	p.sees("All commands are paused by " + user)
	write("63", "rejected: disabled")
	p.tap("Resume commands")
	p.sees("Pause all commands")
	write("63", "It is 63 now.")
	p.clean()
}

// When the gateway is gone the page says so, since when, and keeps what it had.
func testLostConnection(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 1440, 900, "light", true)
	p.visit("")
	p.sees("Records in")
	s.stop()
	p.sees("No connection to the gateway since")
	p.sees("Records in")
	p.until(`document.title.startsWith('No connection')`)
	p.shot("d-light-lost", false)
}
