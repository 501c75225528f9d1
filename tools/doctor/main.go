// Doctor checks whether the tutorial can run on this machine, and installs the
// tools that its chapters and tests use.
//
// Usage:
//
//	go run ./tools/doctor            check this machine (make doctor)
//	go run ./tools/doctor -install   install missing tools (make setup)
//	go run ./tools/doctor -install -bench   and those of make bench (make setup BENCH=1)
//
// It exits 0 if the steps run on this machine, 1 if they do not, 2 after wrong
// usage. -install exits 0 even if it cannot install: make test runs it first,
// and skips the tests that need a missing tool.
package main

import (
	"os"

	"epoll-step-by-step/internal/doctor"
)

func main() { os.Exit(doctor.Main(os.Args[1:], os.Stdout, os.Stderr)) }
