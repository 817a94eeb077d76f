package browser

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// The newest frames come in their order without a hole, a filter in candump's
// notation holds, and what is paused stands still.
func testRoll(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 1440, 900, "light", true)
	p.visit("#/can?view=roll")
	rows := `[...document.querySelectorAll('.roll tbody tr')]`
	p.until(rows + `.length === 500`)
	p.until(`/500 of the last 500 frames/.test(document.querySelector('main').innerText)`)
	if n := p.value(rows + `.map((r) => r.cells[0].innerText).filter((t, i, all) => i > 0 && t > all[i - 1]).length`); n != "0" {
		t.Errorf("%s rows are newer than the row above", n)
	}
	if n := p.value(`/left out/.test(document.querySelector('main').innerText)`); n != "false" {
		t.Error("frames are left out at the rate of an engine")
	}
	p.tap("Pause")
	top := p.value(rows + `[0].cells[0].innerText`)
	count := `document.getElementById('clock').innerText`
	p.until(fmt.Sprintf(`%s !== %q`, count, p.value(count))) // events come meanwhile
	if now := p.value(rows + `[0].cells[0].innerText`); now != top {
		t.Errorf("paused, and the first row went from %s to %s", top, now)
	}
	p.tap("Go on")
	p.until(fmt.Sprintf(`%s[0].cells[0].innerText !== %q`, rows, top))
	p.value(`((i) => { i.value = '0CF00400:1FFFFFFF'; i.dispatchEvent(new Event('input')); })(document.querySelector('input'))`)
	p.until(rows + `.length > 0 && ` + rows + `.every((r) => r.cells[2].innerText.startsWith('0CF00400'))`)
	p.tap("Latest per id")
	p.until(`document.querySelectorAll('tr.go').length === 12`)
	p.clean()
}

// Signals of a bus and registers of a line are shown together, each with the
// line of its last minute, and are found by a search.
func testSources(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 1440, 900, "light", true)
	p.visit("#/sources")
	row := `[...document.querySelectorAll('.vals tr')].find((r) => r.innerText.includes('EngineSpeed'))`
	p.until(row + `.querySelector('svg.spark') && /rpm/.test(` + row + `.innerText)`)
	p.until(`[...document.querySelectorAll('.vals tr')].find((r) => r.innerText.includes('voltage_l1')).querySelector('svg.spark')`)
	p.value(`((i) => { i.value = 'voltage_l1'; i.dispatchEvent(new Event('input')); })(document.querySelector('input'))`)
	p.until(`document.querySelectorAll('.vals tbody tr').length === 1`)
	p.sees("Course")
	p.value(`((s) => { s.value = 'engine/EngineSpeed@0'; s.dispatchEvent(new Event('change')); })(document.querySelector('[aria-label="Value"]'))`)
	p.until(`document.querySelector('[aria-label="Course of the value"] canvas')`)
	p.shot("sources-course", true)
	p.clean()
}

// What somebody tries is marked in the log.
func testRecording(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 360, 740, "light", true)
	p.visit("#/support")
	p.sees("Nothing is being recorded")
	p.value(`(document.querySelector('[aria-label="Note for the mark"]').value = 'swapped A and B')`)
	p.tap("Start recording")
	p.sees("recording since")
	p.tap("Stop")
	p.sees("now make the bundle")
	p.visit("#/logs")
	p.sees("swapped A and B")
	if text := p.look(); strings.Count(text, "mark") < 2 {
		t.Errorf("the log has not both marks: %.2000s", text)
	}
	p.clean()
}
