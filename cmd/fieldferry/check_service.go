package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"fieldferry/bus/modbus"
	"fieldferry/gateway/config"
	"fieldferry/gateway/packaged"
)

// service returns who the daemon would be under the packaged unit: asked for by
// name, or looked up when root checks on a machine that has the user. nil: the
// configuration is judged as the caller sees it.
func service(name string) (*packaged.Service, error) {
	asked := name != ""
	if !asked && os.Geteuid() != 0 {
		return nil, nil
	}
	s, err := packaged.Of(unitProperties(), name)
	if errors.Is(err, fs.ErrNotExist) && !asked {
		return nil, nil
	}
	return s, err
}

// unitProperties asks systemd for the unit with its drop-ins; empty: nobody
// can say.
func unitProperties() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var out strings.Builder
	_ = runProgram(ctx, &out, nil, "systemctl", "show", "--property", packaged.Properties, packaged.Unit) // without it nobody can say
	return out.String()
}

// serviceProblems are what the service would stumble over. They are errors for
// the service's own configuration, one that is to be put there, and when asked
// for by name; for a file elsewhere, which may be run by anybody, they are
// warnings.
func serviceProblems(cfg *config.Config, s *packaged.Service, tree packaged.Tree, o *checkOptions) (list []config.Problem) {
	strict := o.user != "" || o.isServices()
	add := func(key string, t packaged.Trouble) {
		if t != (packaged.Trouble{}) {
			list = append(list, cfg.Problem(key, t.What, t.Fix, !strict))
		}
	}
	for i, f := range cfg.Files() {
		if i == 0 && o.base != "" { // it does not stay where it lies
			continue
		}
		t := s.Readable(tree, absolute(f.Path))
		if i > 0 && f.Key == "" && t != (packaged.Trouble{}) { // in its folder: it stands nowhere
			list = append(list, config.Problem{File: f.Path, What: t.What, Fix: t.Fix, Warning: !strict})
			continue
		}
		add(f.Key, t)
	}
	if cfg.Buffer.Dir != "" { // of a refused one it may be missing
		add("buffer.path", s.Keeps(tree, absolute(cfg.Buffer.Dir)))
	}
	return list
}

// deviceProblems are the serial ports that are there and not the service's to open.
func deviceProblems(cfg *config.Config, s *packaged.Service, tree packaged.Tree) (list []config.Problem) {
	for i := range cfg.Modbus {
		endpoint, err := modbus.ParseEndpoint(cfg.Modbus[i].Port)
		if err != nil || endpoint.Framing.Network() {
			continue
		}
		if t := s.Device(tree, absolute(endpoint.Address)); t != (packaged.Trouble{}) {
			list = append(list, cfg.Problem(lineKey(i), t.What, t.Fix, false))
		}
	}
	return list
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// isServices reports whether the configuration is one that the packaged service
// runs, or that is to be put there: then the base is where it will lie.
func (o *configOptions) isServices() bool {
	dir := o.base
	if dir == "" {
		dir = filepath.Dir(o.path)
	}
	return strings.HasPrefix(absolute(dir)+"/", filepath.Dir(defaultConfig)+"/")
}
