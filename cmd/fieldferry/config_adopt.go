package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"fieldferry/gateway/daemon"

	"github.com/spf13/cobra"
)

// packagedStore is where the daemon of the package keeps configurations.
const packagedStore = "/var/lib/fieldferry/config"

func (a *app) newConfigAdoptCommand() *cobra.Command {
	path, store, asJSON := defaultConfig, packagedStore, false
	c := &cobra.Command{
		Use:   "adopt",
		Short: "Write the confirmed configuration into the site's file",
		Long: `adopt writes the configuration that was put in the place of the site's file into
that file, with those of its DBC files, templates and authorities that are not there
or are others. From then on it is the site's file that runs. The daemon need not run,
and is not disturbed: it notices at its next reload or start.

A configuration with sections of conf.d writes each into its file there. A file of
conf.d that the configuration does not have would add to it: it is moved away, to
NAME.yaml.replaced.

It refuses while a configuration is being tried, and when the file was changed since:
then the file counts. Run it as root.`,
		Example: `  sudo fieldferry config adopt
  sudo fieldferry config adopt -c /etc/fieldferry/fieldferry.yaml --config-store /var/lib/fieldferry/config`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			did, err := daemon.In(store).Adopt(path)
			switch {
			case errors.Is(err, daemon.ErrInFile) && !asJSON:
				return a.print(err.Error() + "\n")
			case errors.Is(err, daemon.ErrInFile):
			case errors.Is(err, fs.ErrPermission):
				return fmt.Errorf("%w; use sudo", err)
			case err != nil:
				return fmt.Errorf("%s: %w", store, err)
			}
			if asJSON {
				return a.printJSON(map[string][]string{"written": append([]string{}, did.Written...), "moved": append([]string{}, did.Moved...)})
			}
			text := "Written: " + printable(dash(strings.Join(did.Written, ", "))) + "\n"
			if len(did.Moved) > 0 {
				text += "Moved away, as the configuration does not have them: " + printable(strings.Join(did.Moved, ", ")) + "\n"
			}
			return a.print(text)
		},
	}
	c.Flags().VarP(&oneFile{path: &path}, "config", "c", "the site's configuration `FILE`")
	c.Flags().StringVar(&store, "config-store", packagedStore, "`DIR` in which the daemon keeps configurations")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
