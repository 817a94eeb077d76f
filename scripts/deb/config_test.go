package deb

import (
	"testing"

	"fieldferry/gateway/config"
)

// The unit restarts for ever: a default configuration that is refused would
// be a crash loop for everybody who starts the service before editing it.
func TestDefaultConfigurationIsValid(t *testing.T) {
	_, problems := config.Load(root+"/systemd/fieldferry.yaml", config.Options{})
	for _, p := range problems {
		t.Error(p)
	}
}
