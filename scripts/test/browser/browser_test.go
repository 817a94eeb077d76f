package browser

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var shared string // a directory for all tests

func TestMain(m *testing.M) { os.Exit(withShared(m)) }

func withShared(m *testing.M) int {
	dir, err := os.MkdirTemp("", "fieldferry-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	shared = dir
	return m.Run()
}

// tab is a page of the browser and what went wrong in it.
type tab struct {
	context.Context
	t    *testing.T
	site *site

	mu       sync.Mutex
	wrong    []string
	loaded   float64 // bytes
	requests int
}

// browser starts one, or skips the test where there is none.
func browser(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("chromium is missing: scripts/deps browser")
		}
		t.Skip("chromium is missing: scripts/deps browser")
	}
	dir, err := os.MkdirTemp(shared, "user-")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), chromedp.ExecPath(path), chromedp.UserDataDir(dir),
		chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("hide-scrollbars", true))
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	if err := chromedp.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// open opens a tab of a size in px and a colour scheme, logged in or not.
func open(t *testing.T, b context.Context, s *site, width, height int64, scheme string, in bool) *tab {
	t.Helper()
	return openFor(t, b, s, width, height, scheme, in, 90*time.Second)
}

// openFor opens a tab that may live for some time.
func openFor(t *testing.T, b context.Context, s *site, width, height int64, scheme string, in bool, life time.Duration) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, life)
	t.Cleanup(cancel)
	p := &tab{Context: ctx, t: t, site: s}
	host := s.host(t)
	chromedp.ListenTarget(ctx, func(ev any) { p.hear(ev, host) })
	p.do(network.Enable(), log.Enable(), runtime.Enable(),
		emulation.SetDeviceMetricsOverride(width, height, 1, width < 900), emulation.SetTouchEmulationEnabled(width < 900),
		emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
	if c := (&url.URL{Host: host}); in {
		cookie := s.login(t)
		p.do(network.SetCookie(cookie.Name, cookie.Value).WithURL("http://" + c.Host + "/").WithHTTPOnly(true))
	} else {
		p.do(network.ClearBrowserCookies())
	}
	return p
}

// hear notes errors of the console, refusals of the policy, exceptions, and
// requests to anywhere else.
func (p *tab) hear(ev any, host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	note := func(format string, args ...any) { p.wrong = append(p.wrong, fmt.Sprintf(format, args...)) }
	switch e := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
			note("console: %s", e.Args[0].Value)
		}
	case *runtime.EventExceptionThrown:
		note("exception: %s %v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
			note("log: %s %s", e.Entry.Text, e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		p.requests++
		if u, err := url.Parse(e.Request.URL); err != nil || u.Host != host && u.Scheme != "data" && u.Scheme != "blob" {
			note("request to %s", e.Request.URL)
		}
	case *network.EventLoadingFinished:
		p.loaded += e.EncodedDataLength
	}
}

func (p *tab) do(actions ...chromedp.Action) {
	p.t.Helper()
	if err := chromedp.Run(p, actions...); err != nil {
		p.t.Fatalf("%v\nwrong: %q\npage: %.1500s", err, p.faults(), p.look())
	}
}

func (p *tab) look() string {
	var text string
	ctx, cancel := context.WithTimeout(context.WithoutCancel(p), 3*time.Second)
	defer cancel()
	_ = chromedp.Run(ctx, chromedp.Evaluate(`document.body.innerText`, &text))
	return text
}

func (p *tab) faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.wrong...)
}

// visit opens a page of the site.
func (p *tab) visit(page string) { p.t.Helper(); p.do(chromedp.Navigate(p.site.url + "/" + page)) }

// until waits until a JavaScript expression is true.
func (p *tab) until(expression string) {
	p.t.Helper()
	var ok bool
	err := chromedp.Run(p, chromedp.Poll("(() => { try { return !!("+expression+") } catch { return false } })()", &ok, chromedp.WithPollingInterval(50*time.Millisecond), chromedp.WithPollingTimeout(patience)))
	if err != nil {
		p.t.Fatalf("never true: %s (%v)\nwrong: %q\npage: %.3000s", expression, err, p.faults(), p.look())
	}
}

// sees waits until a text is on the page.
func (p *tab) sees(text string) {
	p.t.Helper()
	p.until(fmt.Sprintf("document.body.innerText.includes(%q)", text))
}

func (p *tab) value(expression string) (v string) {
	p.t.Helper()
	p.do(chromedp.Evaluate("String("+expression+")", &v))
	return v
}

// tap presses the visible link or button with a text, as a finger would.
func (p *tab) tap(text string) {
	p.t.Helper()
	find := fmt.Sprintf(`[...document.querySelectorAll('a,button')].find((e) => e.innerText.trim().split('\n')[0] === %q && e.checkVisibility())`, text)
	p.until("!!(" + find + ")")
	var at []float64
	p.do(chromedp.Evaluate(`(() => { const e = `+find+`; e.scrollIntoView({ block: 'center' }); const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()`, &at))
	p.do(chromedp.MouseClickXY(at[0], at[1]))
}

// shot writes a picture where FIELDFERRY_SHOTS says.
func (p *tab) shot(name string, whole bool) {
	p.t.Helper()
	dir := os.Getenv("FIELDFERRY_SHOTS")
	if dir == "" {
		return
	}
	var png []byte
	if whole {
		p.do(chromedp.FullScreenshot(&png, 100))
	} else {
		p.do(chromedp.CaptureScreenshot(&png))
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)); err != nil {
		p.t.Fatal(err)
	}
}

// clean fails if anything went wrong in the tab.
func (p *tab) clean() {
	p.t.Helper()
	if list := p.faults(); len(list) > 0 {
		p.t.Errorf("went wrong in the browser:\n%s", strings.Join(list, "\n"))
	}
}
