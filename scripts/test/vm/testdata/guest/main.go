// Command guest is what the bench's own tests run in a guest.
package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(verb string, args []string) error {
	switch verb {
	case "exit": // STATUS
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		os.Exit(n)
	case "env":
		fmt.Println(strings.Join(os.Environ(), "\n"))
	case "write": // N: so many numbered lines
		n, err := strconv.Atoi(args[0])
		for i := range n {
			fmt.Println("line", i)
		}
		return err
	case "link": // NAME
		i, err := net.InterfaceByName(args[0])
		if err == nil {
			fmt.Println(i.Flags&net.FlagUp != 0)
		}
		return err
	case "echo": // ADDRESS BYTES: sends so many bytes and counts what comes back
		return echo(args[0], args[1])
	case "serve": // until a signal
		got := make(chan os.Signal, 1)
		signal.Notify(got, syscall.SIGTERM)
		fmt.Println("serving")
		fmt.Println("got", <-got)
		os.Exit(3)
	}
	return nil
}

func echo(address, count string) error {
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil {
		return err
	}
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	go io.CopyN(c, zeros{}, n)
	got, err := io.CopyN(io.Discard, c, n)
	fmt.Println("echoed", got)
	return err
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }
