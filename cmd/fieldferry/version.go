package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"
)

// buildVersion is what the build knows of itself.
type buildVersion struct {
	_ [0]func() // nobody compares them: saves the code for it

	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`

	built time.Time // of the revision; zero: not known
}

// release is set by packaging where no version control is at hand.
var release string

func readVersion() buildVersion {
	v := buildVersion{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	if release != "" {
		v.Version = release
	}
	if !ok {
		return v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Revision = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		case "vcs.time":
			v.built, _ = time.Parse(time.RFC3339, s.Value)
		case "GOARM":
			v.Platform += "v" + s.Value
		}
	}
	return v
}

func (v buildVersion) String() string {
	s := fmt.Sprintf("fieldferry %s (%s, %s", v.Version, v.Platform, v.Go)
	if v.Revision != "" {
		s += ", revision " + v.Revision[:min(12, len(v.Revision))]
		if v.Modified {
			s += ", modified"
		}
	}
	return s + ")"
}

func (a *app) newVersionCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print the version and what it was built for",
		Example: `  fieldferry version
  fieldferry version --json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := readVersion()
			if asJSON {
				return json.NewEncoder(a.stdout).Encode(v)
			}
			_, err := fmt.Fprintln(a.stdout, v)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
