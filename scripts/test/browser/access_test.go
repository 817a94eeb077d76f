package browser

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"testing"

	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// axe-core 4.14.1 (MPL-2.0, npm), unchanged. It is used by this test only.
const (
	axeFile = "testdata/axe-core/axe.min.js"
	axeSum  = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
)

// finding is one rule of axe-core that is broken.
type finding struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		FailureSummary string
	}
}

// No page has a serious finding of axe-core: names of controls, contrast,
// landmarks, headings, labels.
func testAccessibility(t *testing.T, b context.Context, s *site) {
	axe, err := os.ReadFile(axeFile)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(axe); hex.EncodeToString(sum[:]) != axeSum {
		t.Fatalf("%s is not the released one", axeFile)
	}
	for _, n := range []int{0, 3} { // each width and each scheme
		look := looks[n]
		p := openFor(t, b, s, look.width, look.height, look.scheme, true, hourTime)
		for _, page := range pages {
			p.visit("#/" + page.name)
			p.sees(page.says)
			settle(p)
			var text string
			p.do(chromedp.Evaluate("0;"+string(axe)+";0", nil),
				chromedp.Evaluate(`axe.run(document, {resultTypes: ['violations']}).then((r) => JSON.stringify(r.violations))`, &text,
					func(e *runtime.EvaluateParams) *runtime.EvaluateParams { return e.WithAwaitPromise(true) }))
			var found []finding
			if err := json.Unmarshal([]byte(text), &found); err != nil {
				t.Fatal(err)
			}
			for _, f := range found {
				for i, n := range f.Nodes {
					if i < 3 {
						t.Errorf("%s %s: %s, %s: %s\n%.300s\n%s", look.name, page.name, f.Impact, f.ID, f.Help, n.HTML, n.FailureSummary)
					}
				}
			}
		}
	}
}

// controls are what the Tab key has to reach, in JavaScript.
const controls = `[...document.querySelectorAll('a[href],button,input,select,textarea,summary,[tabindex="0"]')].filter((e) => !e.disabled && e.checkVisibility({ visibilityProperty: true }))`

// Every control of every page is reached by the Tab key, and shows that it has
// the focus.
func testKeyboard(t *testing.T, b context.Context, s *site) {
	for _, look := range []int{0, 2} {
		p := open(t, b, s, looks[look].width, looks[look].height, looks[look].scheme, true)
		for _, page := range pages {
			p.visit("#/" + page.name)
			p.sees(page.says)
			settle(p)
			p.value(`(document.activeElement.blur(), 0)`)
			var n int
			fmt.Sscan(p.value(controls+`.length`), &n)
			for range n + 15 {
				p.keys("\t")
				if bad := p.value(`((e) => {
					if (!e || e === document.body) return '';
					e.reached = true;
					const s = getComputedStyle(e), visible = s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 1;
					return visible ? '' : e.outerHTML.slice(0, 200);
				})(document.activeElement)`); bad != "" {
					t.Errorf("%s %s: the focus does not show: %s", looks[look].name, page.name, bad)
				}
			}
			if missed := p.value(controls + `.filter((e) => !e.reached).map((e) => e.outerHTML.slice(0, 200)).join('\n')`); missed != "" {
				t.Errorf("%s %s: of %d controls Tab does not reach\n%s", looks[look].name, page.name, n, missed)
			}
		}
		p.clean()
	}
}

// focus gives an element the focus.
func (p *tab) focus(element string) {
	p.t.Helper()
	p.until(element)
	p.value("(" + element + ".focus(), 0)")
}

// Enter and Space act, Escape closes, and the focus stays where it was while
// values change around it.
func testKeysAct(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 1440, 900, "light", true)
	p.visit("#/can")
	row := `document.querySelector('.exp')`
	p.focus(row)
	p.keys("\r")
	p.until(row + `.getAttribute('aria-expanded') === 'true' && document.querySelector('tr.sub')`)
	p.keys(" ")
	p.until(row + `.getAttribute('aria-expanded') === 'false' && !document.querySelector('tr.sub')`)
	p.focus(`[...document.querySelectorAll('.seg button')].find((e) => e.innerText === 'Last 500 frames')`)
	p.keys(" ")
	p.until(`location.hash.includes('view=roll')`)

	p.visit("#/overview")
	p.sees("Records in")
	link := `document.querySelector('[aria-label=Sources] a')`
	p.focus(link)
	p.value(`(` + link + `.was = true, 0)`)
	for range 3 {
		p.until(fmt.Sprintf(`document.getElementById('clock').innerText !== %q`, p.value(`document.getElementById('clock').innerText`)))
	}
	if is := p.value(`document.activeElement.was === true`); is != "true" {
		t.Error("the focus went away while values changed")
	}
	p.keys("\r")
	p.until(`location.hash.startsWith('#/can')`)

	phone := open(t, b, s, 360, 740, "dark", true)
	phone.visit("")
	phone.sees("Records in")
	phone.focus(`document.querySelector('#tabs button')`)
	phone.keys("\r")
	phone.until(`document.querySelector('#more').open`)
	phone.keys("\x1b")
	phone.until(`!document.querySelector('#more').open && document.activeElement.innerText === 'More'`)
	p.clean()
	phone.clean()
}
