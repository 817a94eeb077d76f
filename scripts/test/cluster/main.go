// Command cluster runs a cluster of NATS servers with JetStream and MQTT on
// this machine, for tests of how a gateway fares when nodes of it die.
//
//	cluster [-nodes 3] [-sync 2m] [-dir DIR]
//
// It prints the nodes' URLs in one line when they are ready. Then it reads
// commands, one a line, and answers each with "ok" or an error: "kill N" ends
// node N (from 1) as a crash would, "start N" starts it again and waits until
// it has caught up. The end of its input ends it.
//
// # Caveats
//
// It is a module of its own so that the server is no dependency of fieldferry.
// A kill loses nothing that the kernel has; what power cuts lose depends on
// sync_interval and is not shown here.
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// nodeVerb is how this program is called to be a node.
const nodeVerb = "node"

func main() {
	if len(os.Args) == 3 && os.Args[1] == nodeVerb {
		fail(serve(os.Args[2]))
		return
	}
	size := flag.Int("nodes", 3, "how many nodes")
	sync := flag.String("sync", "2m", "sync_interval of JetStream: a duration, or always")
	dir := flag.String("dir", "", "where to store; default a directory that is removed at the end")
	flag.Parse()
	fail(run(*size, *sync, *dir))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// serve is a node, until it is killed.
func serve(conf string) error {
	opts, err := server.ProcessConfigFile(conf)
	if err != nil {
		return err
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	s.ConfigureLogger()
	if err := server.Run(s); err != nil {
		return err
	}
	s.WaitForShutdown()
	return nil
}

func run(size int, sync, dir string) error {
	if dir == "" {
		temp, err := os.MkdirTemp("", "fieldferry-cluster-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temp)
		dir = temp
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := start(ctx, dir, size, sync)
	if err != nil {
		return err
	}
	defer c.close()
	fmt.Println(strings.Join(c.urls(), " "))
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		if err := c.command(lines.Text()); err != nil {
			fmt.Println(err)
		} else {
			fmt.Println("ok")
		}
	}
	return nil
}

// command does what a line says.
func (c *cluster) command(line string) error {
	verb, number, _ := strings.Cut(strings.TrimSpace(line), " ")
	i, err := strconv.Atoi(number)
	if err != nil || i < 1 || i > len(c.nodes) {
		return fmt.Errorf("%q: say kill N or start N, N from 1 to %d", line, len(c.nodes))
	}
	n := c.nodes[i-1]
	switch verb {
	case "kill":
		n.kill()
		return nil
	case "start":
		if err := n.start(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		return n.ready(ctx)
	}
	return fmt.Errorf("%q: say kill N or start N", line)
}
