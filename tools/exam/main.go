// Exam grades a TCP server from outside: it starts the command, talks to it, and
// looks at its process through /proc. The server may be written in any language. It
// is an echo server, or one that answers a request: -speaks redis, or -ask and
// -reply.
//
// Usage:
//
//	exam [flags] -- command args…    start the command, grade it, stop it
//	exam [flags] -addr HOST:PORT     grade the server that listens there
//	exam [flags] -pid N              grade that process
//
// In the command, {addr}, {host} and {port} stand for the address of -addr, or for a
// port of 127.0.0.1 that the examiner chooses. It also chooses one if -addr has port 0:
// with -addr [::1]:0, one of IPv6. A command without {addr}, {host} and {port} has to
// listen on the address of -addr.
//
// It exits with 0 if all checks passed, 1 if one failed, 2 if it was misused or the
// server never listened, 130 if it was interrupted.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
	"epoll-step-by-step/internal/exam/junit"
	"epoll-step-by-step/internal/exam/show"

	"golang.org/x/sys/unix"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	flags := flag.NewFlagSet("exam", flag.ContinueOnError)
	as := flags.String("as", "echo", "what the server claims to be: echo, lt (level-triggered epoll) or et (edge-triggered);\nfor exercises: lines, timeout, chat, redis, cores")
	at := flags.String("addr", "127.0.0.1:6379", "where the server listens; port 0 lets the examiner choose one\nfor {addr} and {port}, as it does without -addr")
	only := flags.String("only", "", "run only the checks with these `IDs`, separated by commas")
	pid := flags.Int("pid", 0, "grade this process, which is already running")
	speaks := newDialogueFlags(flags)
	asJSON := flags.Bool("json", false, "print one JSON object at the end")
	junitFile := flags.String("junit", "", "write the results to this `FILE`, in the format that CI systems read")
	verbose := flags.Bool("v", false, "print what the examiner saw for passed checks, too")
	list := flags.Bool("list", false, "list the checks and stop")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), `usage: exam [flags] -- command args…    start the command, grade it, stop it
       exam [flags] -addr HOST:PORT     grade the server that listens there
       exam [flags] -pid N              grade that process
In the command, {addr}, {host} and {port} stand for a free address, or for that of -addr.
`)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	given := make(map[string]bool)
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })

	o := exam.Options{Command: flags.Args(), PID: *pid, As: exam.Profile(*as)}
	var ids []string
	if *only != "" {
		ids = strings.FieldsFunc(strings.ToUpper(*only), func(r rune) bool { return r == ',' || r == ' ' })
	}
	if !slices.Contains(exam.Profiles, o.As) {
		return misuse("-as %s: want one of %v", *as, exam.Profiles)
	}
	var err error
	if o.Dialogue, err = speaks.dialogue(); err != nil {
		return misuse("%v", err)
	}
	if o.Checks, err = checks.SelectFor(o.Dialogue, o.As, ids...); err != nil {
		return misuse("-only: %v", err)
	}
	if *list {
		for _, c := range o.Checks {
			fmt.Printf("%-22s %s\n", c.ID, c.Title)
		}
		return 0
	}
	if len(o.Command) == 0 && *pid == 0 && !given["addr"] {
		flags.Usage()
		return misuse("nothing to grade: give a command after --, or -addr, or -pid")
	}
	if *pid < 0 || *pid > 0 && unix.Kill(*pid, 0) == unix.ESRCH {
		return misuse("-pid %d: there is no such process", *pid)
	}
	if given["addr"] || *pid == 0 && !exam.TakesAddr(o.Command) {
		if o.Addr, err = address(*at); err != nil {
			return misuse("-addr %s: %v", *at, err)
		}
	}

	var results *os.File
	if *junitFile != "" {
		if results, err = os.Create(*junitFile); err != nil {
			return misuse("-junit: %v", err)
		}
		defer results.Close()
	}

	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	style, live := show.Screen()
	style.Verbose = *verbose
	clear := func() {
		if live {
			fmt.Fprint(os.Stderr, show.Gone)
		}
	}
	o.Started = func(i, n int, c exam.Check) {
		if live {
			fmt.Fprint(os.Stderr, style.Running(i, n, c))
		}
	}
	o.Finished = func(r exam.Result) {
		clear()
		if !*asJSON {
			fmt.Print(style.Text(r))
		}
	}
	report, err := exam.Run(ctx, o)
	clear()
	if err != nil {
		return misuse("%v", err)
	}
	if *asJSON {
		enc := json.NewEncoder(os.Stdout)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(report); err != nil {
			return misuse("%v", err)
		}
	} else if len(report.Results) > 0 {
		fmt.Println("\n" + style.Summary(report))
	}
	if results != nil {
		if err := junit.Write(results, report); err != nil {
			return misuse("-junit: %v", err)
		}
	}
	switch {
	case report.Status == exam.StatusInterrupted:
		fmt.Fprintln(os.Stderr, "exam: interrupted; what it had started is stopped")
		return 130
	case report.Status == exam.StatusNeverListened:
		fmt.Fprintf(os.Stderr, "exam: %s\n", report.Problem)
		if report.Output != "" {
			fmt.Fprintf(os.Stderr, "exam: its last output was\n%s\n", report.Output)
		}
		return 2
	case report.Passed():
		return 0
	}
	return 1
}

func misuse(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "exam: "+format+"\n", args...)
	return 2
}

// address accepts what people type: 127.0.0.1:6379, localhost:6379, :6379, [::1]:6379.
func address(text string) (netip.AddrPort, error) {
	a, err := net.ResolveTCPAddr("tcp", text)
	if err != nil {
		return netip.AddrPort{}, errors.New("want HOST:PORT, such as 127.0.0.1:6379 or [::1]:6379")
	}
	ip, given := netip.AddrFromSlice(a.IP)
	switch ip = ip.Unmap(); {
	case !given, ip == netip.IPv4Unspecified():
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case ip == netip.IPv6Unspecified():
		ip = netip.IPv6Loopback()
	case !ip.IsLoopback():
		return netip.AddrPort{}, errors.New("the examiner floods what it grades: it does so on 127.0.0.0/8 and ::1 only")
	}
	return netip.AddrPortFrom(ip, uint16(a.Port)), nil
}
