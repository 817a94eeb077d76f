package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// cluster is a number of nodes, each a process of its own. Its methods may be
// called from any goroutine, those of one node from one at a time.
type cluster struct {
	nodes []*node
}

// node is one server: a process that can be killed, and what it stores.
type node struct {
	name                      string
	conf, log                 string // files
	client, route, mqtt, http int    // ports

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{}
}

const host = "127.0.0.1"

// start starts a cluster that stores in dir, syncing as NATS's sync_interval
// says ("2m", its default, or "always"), and returns when all of it is ready.
func start(ctx context.Context, dir string, size int, sync string) (*cluster, error) {
	var last error
	for attempt := range 5 { // a port may be taken between finding and using it
		c, err := try(ctx, filepath.Join(dir, fmt.Sprint(attempt)), size, sync)
		if err == nil {
			return c, nil
		}
		c.close()
		if last = err; ctx.Err() != nil {
			break
		}
	}
	return nil, last
}

func try(ctx context.Context, dir string, size int, sync string) (*cluster, error) {
	c := &cluster{}
	var routes []string
	for i := range size {
		n := &node{name: fmt.Sprintf("node%d", i+1), client: freePort(), route: freePort(), mqtt: freePort(), http: freePort()}
		routes = append(routes, fmt.Sprintf("nats://%s:%d", host, n.route))
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		if err := n.configure(dir, routes, size, sync); err != nil {
			return c, err
		}
		if err := n.start(); err != nil {
			return c, err
		}
	}
	return c, c.ready(ctx)
}

func (n *node) configure(dir string, routes []string, size int, sync string) error {
	store := filepath.Join(dir, n.name)
	if err := os.MkdirAll(store, 0o700); err != nil {
		return err
	}
	n.conf, n.log = filepath.Join(store, "nats.conf"), filepath.Join(store, "log")
	return os.WriteFile(n.conf, fmt.Appendf(nil, `server_name: %s
host: %s
port: %d
http: "%s:%d"
log_file: %q
jetstream { store_dir: %q, sync_interval: %q }
cluster { name: c, host: %s, port: %d, routes: [%s] }
mqtt { host: %s, port: %d, stream_replicas: %d, ack_wait: "5s" }
`, n.name, host, n.client, host, n.http, n.log, store, sync, host, n.route, strings.Join(routes, ", "), host, n.mqtt, min(size, 3)), 0o600)
}

// freePort finds a port below those from which the kernel takes the ports of
// connections, so that it stays free while the node is down.
func freePort() int {
	for {
		port := 15000 + rand.IntN(15000)
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
		if err == nil {
			_ = l.Close()
			return port
		}
	}
}

// start starts the node, and does not wait for it.
func (n *node) start() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(exe, nodeVerb, n.conf)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cmd, n.exited = cmd, exited
	return nil
}

// kill ends the node as a crash would.
func (n *node) kill() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cmd != nil {
		_ = n.cmd.Process.Kill() // it may have ended
		<-n.exited
		n.cmd = nil
	}
}

func (n *node) url() string { return fmt.Sprintf("mqtt://%s:%d", host, n.mqtt) }

var errExited = errors.New("it has ended")

// ready waits until the node's part of JetStream is what the others have, and
// it takes MQTT clients.
func (n *node) ready(ctx context.Context) error {
	for {
		if n.healthy(ctx) && n.welcomes() {
			return nil
		}
		n.mu.Lock()
		exited := n.exited
		n.mu.Unlock()
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", n.name, ctx.Err())
		case <-exited:
			return fmt.Errorf("%s: %w", n.name, errExited)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (n *node) healthy(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/healthz", host, n.http), nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// welcomes says whether an MQTT client can connect. The first one makes the
// streams for all, which must have found leaders.
func (n *node) welcomes() bool {
	o := mqtt.NewClientOptions().AddBroker(n.url()).SetClientID("ready-" + n.name).SetAutoReconnect(false)
	client := mqtt.NewClient(o.SetConnectTimeout(10 * time.Second).SetProtocolVersion(4))
	token := client.Connect()
	if !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		return false
	}
	client.Disconnect(100)
	return true
}

func (c *cluster) ready(ctx context.Context) error {
	for _, n := range c.nodes {
		if err := n.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *cluster) urls() []string {
	var urls []string
	for _, n := range c.nodes {
		urls = append(urls, n.url())
	}
	return urls
}

func (c *cluster) close() {
	for _, n := range c.nodes {
		n.kill()
	}
}
