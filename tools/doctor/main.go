// Doctor says whether the tutorial can run on this machine, and installs the
// tools that its chapters and tests use.
//
// Usage:
//
//	go run ./tools/doctor            report what is here (make doctor)
//	go run ./tools/doctor -install   install what is missing (make setup)
//
// The report exits 1 if something essential is wrong. -install exits 0 even
// where it cannot install: make test runs it first, and the tests that need a
// missing tool are skipped. Misused, it exits 2.
package main

import (
	"os"

	"epoll-step-by-step/internal/doctor"
)

func main() { os.Exit(doctor.Main(os.Args[1:], os.Stdout, os.Stderr)) }
