package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"time"
)

const checkEvery = 20

// killLoop runs the workload and kills it at a random instant of its life: as
// it opens, or as it works.
func killLoop(dir string, cycles int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	opening, err := timeToOpen(self)
	if err != nil {
		return err
	}
	p := newPromises()
	for c := range cycles {
		cmd := exec.Command(self, "work", dir)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, os.Stderr
		if err := cmd.Start(); err != nil {
			return err
		}
		time.Sleep(rand.N(2*opening + 50*time.Millisecond))
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if err := p.read(out.String()); err != nil {
			return err
		}
		if p.session > 0 && (c%checkEvery == checkEvery-1 || c == cycles-1) {
			if err := p.check(dir); err != nil {
				return fmt.Errorf("after %d kills: %w", c+1, err)
			}
		}
	}
	if p.lines < cycles {
		return fmt.Errorf("%d promises in %d cycles: the workload was killed before it promised anything", p.lines, cycles)
	}
	fmt.Printf("%d kills, %s\n", cycles, p.summary())
	return nil
}

// timeToOpen measures how long a workload takes to begin on this machine.
func timeToOpen(self string) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "crash-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command(self, "work", dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(begin)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if err != nil || !strings.HasPrefix(line, "session") {
		return 0, fmt.Errorf("the workload does not begin: %q, %w", line, err)
	}
	return took, nil
}
