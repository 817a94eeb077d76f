package bundle

import (
	"fmt"
	"regexp"
	"strings"
)

const (
	// hostPlaces are where texts have host names: in URLs, in errors of resolvers
	// and certificates, and behind the keys of a configuration that cannot be read
	// and of a certificate as the status has it.
	hostPlaces = `://(?:[^/\s"'@]*@)?[^/\s"'@:,\]]+|\blookup \S+(?:: | on )|\bvalid for [^\n]+, not [^\s";]+|` +
		`\b(?:server_name|hosts|names)["']?\s*:\s*(?:\[[^\]]*\]|[^\s,}\[]+)|\bCN=[^\s,+"]+\.[^\s,+"]+`
	// notHosts are the words in these places.
	notHosts = " lookup valid for not server_name hosts names localhost environment "
	// distinguished are the names in a certificate's subject and issuer.
	distinguished = `\b(CN|OU|O|L|ST|STREET|SERIALNUMBER)=[^,+"\n]+`
)

// hosts are host names with what they are replaced by.
type hosts map[string]string

// find takes the names that stand in a text.
func (h hosts) find(places *regexp.Regexp, text string) {
	places.ReplaceAllStringFunc(text, func(s string) string {
		h.take(s)
		return s
	})
}

// take takes every word of s that can be one. Addresses are masked elsewhere.
func (h hosts) take(s string) {
	for _, name := range strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return r < 0x80 && strings.IndexByte(hostBytes, byte(r)) < 0 }) {
		name = strings.Trim(name, "._-")
		if len(name) >= 3 && h[name] == "" && strings.Trim(name, "0123456789.") != "" && !strings.Contains(notHosts, " "+name+" ") {
			h[name] = fmt.Sprintf("host-%d", len(h)+1)
		}
	}
}

const hostBytes = "abcdefghijklmnopqrstuvwxyz0123456789._-"

// mask replaces a word that is a name, or ends or begins with one at a dot. A
// scheme can be called like a host, such as mqtt.
func (h hosts) mask(word string) string {
	name := strings.ToLower(strings.TrimRight(word, "._-"))
	for at := 0; at < len(name); {
		if m := h[name[at:]]; m != "" {
			return word[:at] + m + word[len(name):]
		}
		n := strings.IndexByte(name[at:], '.')
		if n < 0 {
			break
		}
		at += n + 1
	}
	first, _, _ := strings.Cut(name, ".")
	if m := h[first]; m != "" && !strings.HasSuffix(word, "://") {
		return m + word[len(first):]
	}
	return word
}

// hostMasker replaces host names wherever they stand, the same by the same: those
// that are known, and those in the texts.
func hostMasker(texts [][]byte, known []string) func(string) string {
	h, places := hosts{}, regexp.MustCompile(hostPlaces)
	for _, s := range known {
		if h.find(places, s); !strings.Contains(s, "/") {
			h.take(s)
		}
	}
	for _, text := range texts {
		h.find(places, string(text))
	}
	words, names := regexp.MustCompile(`[\pL\pN][\pL\pN._-]*(?:://)?`), regexp.MustCompile(distinguished)
	return func(s string) string {
		return names.ReplaceAllString(words.ReplaceAllStringFunc(s, h.mask), "${1}="+hidden)
	}
}
