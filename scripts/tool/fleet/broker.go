package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"fieldferry/scripts/test/rig"
)

// broker is what the gateways connect to.
type broker interface {
	name() string
	urls() []string
	pids() []int // its processes, if they are ours
	// fail takes the broker, or a part of it, away. It returns when a gateway
	// can come back, and says what happened; empty: nothing.
	fail(ctx context.Context, away time.Duration) (string, error)
	close()
}

// given is a broker of somebody else.
type given []string

func (g given) name() string                                        { return strings.Join(g, " ") }
func (g given) urls() []string                                      { return g }
func (g given) pids() []int                                         { return nil }
func (g given) fail(context.Context, time.Duration) (string, error) { return "", nil }
func (g given) close()                                              {}

// mosquitto is one that is killed and started again.
type mosquitto struct{ *rig.Mosquitto }

func startMosquitto(dir string) (*mosquitto, error) {
	m, err := rig.NewMosquitto(dir, "127.0.0.1", rig.Quiet)
	if err != nil {
		return nil, fmt.Errorf("%w; install the package mosquitto, or give -server or -cluster", err)
	}
	return &mosquitto{m}, nil
}

func (m *mosquitto) name() string   { return "mosquitto" }
func (m *mosquitto) urls() []string { return []string{"mqtt://" + m.Addr()} }
func (m *mosquitto) pids() []int    { return []int{m.PID()} }
func (m *mosquitto) close()         { m.Kill() }

func (m *mosquitto) fail(ctx context.Context, away time.Duration) (string, error) {
	m.Kill()
	select {
	case <-time.After(away):
	case <-ctx.Done():
	}
	return fmt.Sprintf("mosquitto was killed, away for %v, and is back", away), m.Start()
}

// cluster is scripts/test/cluster, a program of another module.
type cluster struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	nodes []string
}

func startCluster(ctx context.Context) (*cluster, error) {
	bin, err := buildCluster(ctx)
	if err != nil {
		return nil, err
	}
	defer os.Remove(bin) // its nodes are started by then, and it keeps itself open
	c := &cluster{cmd: exec.Command(bin)}
	c.cmd.Stderr = os.Stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		c.close()
		return nil, fmt.Errorf("the cluster does not start: %w", err)
	}
	c.nodes = strings.Fields(line)
	return c, nil
}

func buildCluster(ctx context.Context) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "fieldferry").Output()
	if err != nil {
		return "", fmt.Errorf("go list -m: %w", err)
	}
	f, err := os.CreateTemp("", "fieldferry-cluster-")
	if err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", f.Name(), ".")
	build.Dir = filepath.Join(strings.TrimSpace(string(root)), "scripts", "test", "cluster")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build scripts/test/cluster: %w\n%s", err, out)
	}
	return f.Name(), nil
}

func (c *cluster) name() string   { return fmt.Sprintf("%d NATS servers", len(c.nodes)) }
func (c *cluster) urls() []string { return c.nodes }

// pids are those of the nodes, which are children of the program (proc(5)).
func (c *cluster) pids() []int {
	pid := c.cmd.Process.Pid
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var pids []int
	for _, task := range tasks {
		data, _ := os.ReadFile(task) // a thread that has ended has none
		for _, field := range strings.Fields(string(data)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(pids, child)
			}
		}
	}
	return pids
}

// fail kills the first node. The gateways have others to go to at once.
func (c *cluster) fail(context.Context, time.Duration) (string, error) {
	if _, err := io.WriteString(c.in, "kill 1\n"); err != nil {
		return "", err
	}
	answer, err := c.out.ReadString('\n')
	if err == nil && answer != "ok\n" {
		err = errors.New(strings.TrimSpace(answer))
	}
	return fmt.Sprintf("one of %d nodes was killed", len(c.nodes)), err
}

func (c *cluster) close() {
	_ = c.in.Close() // which ends it
	_ = c.cmd.Wait()
}
