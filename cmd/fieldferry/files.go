package main

import (
	"fmt"
	"os"
	"strings"
)

// readSecret reads a password from a file; a line end at its end is not part
// of it.
func readSecret(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return strings.TrimRight(string(data), "\r\n"), nil
}
