package browser

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The stream is asked for as often as the person wants, and the browser remembers it.
func testPace(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 1440, 900, "light", true)
	p.visit("#/overview")
	p.sees("Records in")
	pick := func(ms string) {
		p.value(`((e) => { e.value = '` + ms + `'; e.dispatchEvent(new Event('change')); return 0; })(document.querySelector('#nav .pace select'))`)
	}
	asked := `performance.getEntriesByType('resource').map((e) => e.name).filter((n) => n.includes('/events?')).at(-1)?.includes('every=10000ms')`
	pick("10000")
	p.until(`localStorage.getItem('pace') === '10000'`)
	p.visit("#/buffer")
	p.sees("Lanes")
	if is := p.value(`String(document.querySelector('#nav .pace select').value)`); is != "10000" {
		t.Errorf("the page shows %s", is)
	}
	p.until(asked + ` !== false`) // open streams may have no entry yet
	pick("0")
	p.clean()
}

// What a reload would change is shown beside its sign, and gone when the file is
// as it was.
func testDifference(t *testing.T, b context.Context, s *site) {
	old, err := os.ReadFile(s.path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(s.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	defer write(string(old))
	write(strings.Replace(string(old), "interval: 500ms", "interval: 700ms", 1))
	for _, look := range []int{0, 3} {
		p := open(t, b, s, looks[look].width, looks[look].height, looks[look].scheme, true)
		p.visit("#/config")
		p.sees("the file is not what runs")
		if got := p.value(`[...document.querySelectorAll('pre.diff .m, pre.diff .p')].map((e) => e.innerText.replace(/\s+/g, ' ')).join('|')`); !strings.Contains(got, "- interval: 500ms|") || !strings.Contains(got, "+ interval: 700ms") {
			t.Errorf("%s", got)
		}
		if odd := p.value(`[...document.querySelectorAll('pre.diff')].flatMap((e) => [...e.childNodes]).filter((n) => n.nodeName !== 'DIV').map((n) => n.textContent).join('|')`); odd != "" {
			t.Errorf("between the lines stands %q", odd)
		}
		p.shot(looks[look].name+"-config-difference", true)
		p.clean()
	}
	write(string(old))
	p := open(t, b, s, 1440, 900, "light", true)
	p.visit("#/config")
	p.sees("the file is what runs")

	// A file of conf.d is shown with the rest, and what is wrong in it has its name.
	folder := filepath.Join(filepath.Dir(s.path), "conf.d")
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(folder)
	if err := os.WriteFile(filepath.Join(folder, "10-more.yaml"), []byte("can: [{interface: \"sim:engine\", nmae: more}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.visit("#/overview")
	p.visit("#/config")
	p.sees("and beside it conf.d/10-more.yaml")
	p.sees("(conf.d/10-more.yaml): can[")
	p.until(`document.querySelector('pre.yaml:not(.diff) .e').innerText.includes('nmae')`)
	p.clean()
}

// The settings of a line are found; the page says that polls pause, and the line
// is polled again afterwards.
func testSettings(t *testing.T, b context.Context, s *site) {
	p := open(t, b, s, 360, 740, "dark", true)
	p.visit("#/commissioning")
	p.sees("Baud rate and parity")
	p.sees("Polls of the line pause")
	p.value(`([...document.querySelectorAll('button')].find((e) => e.innerText === 'Find').click(), 0)`)
	p.sees("9600 baud, 8N1")
	p.sees("the line is polled again")
	p.shot("m-dark-commissioning-found", true)
	p.visit("#/modbus")
	p.sees("2 of 3 units answer")
	p.clean()
}

// A configuration is changed: what is wrong stands beside its line, what is
// different is shown, it is tried, kept, or comes back by itself, and the second
// of two who change it at the same time is refused.
func testChange(t *testing.T, b context.Context, s *site) {
	const area = `document.querySelector('.ed textarea')`
	edit := func(p *tab, has string) {
		p.visit("#/overview")
		p.visit("#/config")
		p.tap("Edit")
		p.until(area + ` && ` + area + `.value.includes('` + has + `')`)
	}
	write := func(p *tab, old, text string) {
		p.value(`((e) => { e.value = e.value.replace('` + old + `', '` + text + `'); e.dispatchEvent(new Event('input')); return 0; })(` + area + `)`)
	}
	p := open(t, b, s, 1440, 900, "light", true)
	edit(p, "interval: 500ms")
	write(p, "interval: 500ms", "interval: 500 apples")
	p.tap("Review")
	p.until(`document.querySelector('.ed .say') && document.querySelector('.ed li.e')`)
	p.shot("d-light-config-problem", true)
	write(p, "500 apples", "700ms")
	p.tap("Review")
	p.sees("What changes")
	p.shot("d-light-config-review", true)
	p.tap("Apply")
	p.sees("runs on trial")
	p.until(`/^9:/.test(document.querySelector('.cd').innerText)`)
	p.shot("d-light-config-trial", true)
	p.tap("Keep")
	p.sees("is confirmed")

	// Somebody else is faster.
	edit(p, "interval: 700ms")
	p.value(`((async () => {
		const json = async (path, more) => (await fetch('/api/v1/config' + path, more)).json();
		const c = await json('');
		await json('/apply?watch=0', { method: 'POST', headers: { 'If-Match': JSON.stringify(c.tag) }, body: (c.runs || c.text).replace('700ms', '800ms') });
		while ((await json('/attempt')).attempt.state !== 'confirmed');
		window.faster = true;
	})(), 0)`)
	p.until(`window.faster`)
	write(p, "interval: 700ms", "interval: 900ms")
	p.tap("Review")
	p.sees("What changes")
	p.tap("Apply")
	p.sees("Begin again with what runs now")
	for _, fault := range p.faults() {
		if !strings.Contains(fault, "status of 412") {
			t.Error(fault)
		}
	}

	m := open(t, b, s, 360, 740, "dark", true)
	edit(m, "interval: 800ms")
	write(m, "interval: 800ms", "interval: 900ms")
	m.tap("Review")
	m.sees("What changes")
	m.value(`((e) => { e.add(new Option('6 seconds', '6s')); e.value = '6s'; return 0; })(document.querySelector('[aria-label="Tried for"]'))`)
	m.tap("Apply")
	m.sees("runs on trial")
	m.shot("m-dark-config-trial", true)
	m.sees("was rolled back") // nobody kept it
	edit(m, "interval: 800ms")
	m.clean()
}
