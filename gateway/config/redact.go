package config

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
)

// hidden is what stands in place of a secret.
const hidden = "********"

var (
	// secretKey is a key whose value must never be shown. A key that names a
	// file, such as password_file, is not one.
	secretKey = lazily(`(?i)(^|[\s{,\-"'])((?:\w*(?:pass|pwd|secret|token|auth|credential|api_?key)\w*|headers|key_pem)["']?\s*:)(\s*)(.*)$`)
	namesFile = lazily(`(?i)_file["']?\s*:$`)
	userinfo  = lazily(`(://)[^/\s"'@]*@`)
)

// lazily is for expressions that most starts never need: on a small controller
// each costs more than reading the configuration.
func lazily(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

// Redact returns the text of a configuration file without its secrets, whether
// it can be parsed or not. Where it is in doubt it hides more than it must: the
// rest of a line behind a secret key, and what is indented below it.
func Redact(text []byte) []byte {
	var out bytes.Buffer
	below := -1 // the indent of a secret key whose value stands on the next lines
	for line := range strings.Lines(string(text)) {
		body := strings.TrimRight(line, "\r\n")
		end := line[len(body):]
		indent := len(body) - len(strings.TrimLeft(body, " \t"))
		if below >= 0 && strings.TrimSpace(body) != "" {
			if indent > below {
				out.WriteString(body[:indent] + hidden + end)
				continue
			}
			below = -1
		}
		if m := secretKey().FindStringSubmatchIndex(body); m != nil && !namesFile().MatchString(body[m[4]:m[5]]) {
			if value := body[m[8]:m[9]]; !harmless(value) {
				out.WriteString(userinfo().ReplaceAllString(body[:m[7]], "${1}"+hidden+"@") + hidden + end)
				if opens(value) {
					below = indent
				}
				continue
			} else if strings.TrimSpace(value) == "" {
				below = indent
			}
		}
		out.WriteString(userinfo().ReplaceAllString(body, "${1}"+hidden+"@") + end)
	}
	return out.Bytes()
}

// harmless reports whether a value shows nothing: none, or a variable.
func harmless(value string) bool {
	value = strings.Trim(strings.TrimSpace(value), `"'`)
	return value == "" || strings.HasPrefix(value, "#") || variable().MatchString(value)
}

var variable = lazily(`^\$\{[A-Za-z_][A-Za-z0-9_]*\}$`)

// opens reports whether a value goes on in the lines below it.
func opens(value string) bool {
	value = strings.TrimSpace(value)
	switch {
	case value == "":
		return true
	case strings.ContainsAny(value[:1], "|>{[&!"):
		return true
	case value[0] == '"' || value[0] == '\'':
		return !strings.HasSuffix(value, value[:1]) || len(value) == 1
	}
	return true // a plain value may go on as well
}
