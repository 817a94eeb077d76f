package main

import (
	"fmt"

	"fieldferry/gateway/config"
)

// readPassword reads a password from a file, as the daemon does.
func readPassword(path string) (string, error) {
	text, err := config.ReadSecret(path)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return text, nil
}
