// Tour shows the chapters in a browser, with what they speak of beside them: the
// terminals of the transcripts, what the kernel holds for the server that runs there, lab
// blocks that can be edited and run, and walks that can be stepped through, or taken by
// hand.
//
// Usage:
//
//	tour [-addr 127.0.0.1:0]
//
// It prints the address to open. The address contains a token: this is a program that
// runs others for whoever may talk to it, so it listens on the loopback interface only
// and talks to one browser. Ctrl-C ends it and everything that it has started.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("tour", flag.ContinueOnError)
	addr := flags.String("addr", "127.0.0.1:6380", "listen on this `address` of the loopback interface; if the port is taken, on another one")
	root := flags.String("root", ".", "the repository's `folder`")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	at, err := netip.ParseAddrPort(*addr)
	if err != nil || !at.Addr().IsLoopback() || flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "tour: want -addr with an address of the loopback interface, such as 127.0.0.1:6380; got %q\n", args)
		return 2
	}
	if err := serve(*root, at); err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		return 1
	}
	return 0
}

func serve(root string, at netip.AddrPort) error {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := os.Chdir(root); err != nil {
		return err
	}
	l, err := net.Listen("tcp", at.String())
	if errors.Is(err, unix.EADDRINUSE) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(at.Addr(), 0).String())
	}
	if err != nil {
		return err
	}
	t := newTour(ctx)
	defer t.close()
	guard := newGuard(l.Addr().String(), t.handler())
	fmt.Printf("Open %s\nCtrl-C ends the tour.\n", guard.url())
	server := &http.Server{Handler: guard, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
