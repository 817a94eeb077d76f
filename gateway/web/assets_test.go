package web

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

// maxAssets is what the whole page may take over the wire. A gateway is looked at
// over mobile links.
const maxAssets = 150_000

func TestAssetsAreSmall(t *testing.T) {
	total := 0
	for name, a := range assets() {
		if name != "/openapi.json" { // no part of the page
			total += len(a.gzipped)
		}
	}
	if total > maxAssets || total < 10_000 {
		t.Errorf("the page takes %d bytes compressed; at most %d", total, maxAssets)
	}
}

// The library for charts is uPlot 1.6.32 (MIT) as npm has it, unchanged.
func TestVendoredLibraryIsTheReleasedOne(t *testing.T) {
	for name, want := range map[string]string{
		"/vendor/uPlot.iife.min.js": "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f",
		"/vendor/uPlot.min.css":     "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04",
		"/vendor/uPlot.LICENSE":     "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd",
	} {
		a := assets()[name]
		if a == nil {
			t.Errorf("%s is missing", name)
			continue
		}
		if sum := sha256.Sum256(a.plain); hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s is not the released one", name)
		}
	}
	if js := assets()["/vendor/uPlot.iife.min.js"]; js != nil && !strings.Contains(string(js.plain[:200]), "v1.6.32") {
		t.Error("the file does not say v1.6.32")
	}
}

// The content security policy allows neither script nor style within the HTML.
func TestNothingIsInline(t *testing.T) {
	html := string(assets()["/index.html"].plain)
	for _, bad := range []string{"style=", "<style", "onclick", "javascript:"} {
		if strings.Contains(html, bad) {
			t.Errorf("index.html has %s", bad)
		}
	}
	for name, a := range assets() {
		if !strings.HasSuffix(name, ".js") || strings.HasPrefix(name, "/vendor/") {
			continue
		}
		for _, bad := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "https://"} {
			if strings.Contains(string(a.plain), bad) {
				t.Errorf("%s uses %s: text enters the page by textContent only", name, bad)
			}
		}
	}
}
