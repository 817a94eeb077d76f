package main

import (
	"os"
	"strings"
)

// environmentFile is where the packaged service has its environment from
// (EnvironmentFile= of systemd.exec(5)).
const environmentFile = "/etc/default/fieldferry"

// maxEnvironment is how much of it is looked at.
const maxEnvironment = 64 << 10

// serviceEnvironment is getenv for somebody who looks at the service's own
// configuration: what is not set is taken from the file that the service has it
// from, as far as it may be read. Without that check would refuse what runs.
func serviceEnvironment(file string, getenv func(string) (string, bool)) func(string) (string, bool) {
	var vars map[string]string
	return func(name string) (string, bool) {
		if value, ok := getenv(name); ok {
			return value, true
		}
		if vars == nil {
			vars = map[string]string{}
			if text, err := os.ReadFile(file); err == nil && len(text) <= maxEnvironment {
				vars = environment(string(text))
			}
		}
		value, ok := vars[name]
		return value, ok
	}
}

// environment reads lines of NAME=value, with quotes as systemd has them.
func environment(text string) map[string]string {
	vars := map[string]string{}
	text = strings.ReplaceAll(text, "\\\n", "")
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		name, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		vars[strings.TrimSpace(name)] = unquoted(strings.TrimSpace(value))
	}
	return vars
}

// unquoted takes the quotes from around a value. A backslash in double quotes,
// or without any, takes the next character as it is.
func unquoted(value string) string {
	if n := len(value); n >= 2 && value[0] == '\'' && value[n-1] == '\'' {
		return value[1 : n-1]
	}
	if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
		value = value[1 : n-1]
	}
	var b strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && i+1 < len(value) {
			i++
		}
		b.WriteByte(value[i])
	}
	return b.String()
}
