// Docs makes the blocks of the documents that are not written by hand: excerpts
// and diffs of the code, and what programs print. The tests of internal/doctest
// check that they are still true.
//
// Usage, in the root of the repository:
//
//	go run ./tools/docs [FILE...]      refresh all blocks of all documents
//	go run ./tools/docs -n [FILE...]   change nothing, report what is stale
//	go run ./tools/docs -static [FILE...]   refresh only what needs no program to
//	                                        run: code, diffs, compatibility
//
// It also reports links that lead nowhere and the other problems that
// internal/doctest finds. It exits 1 if it reports anything: a problem, a block that
// could not be made or, with -n, a stale block. Misused, it exits 2.
package main

import (
	"os"

	"epoll-step-by-step/internal/doctest"
)

func main() { os.Exit(doctest.Main(os.Args[1:], os.Stdout, os.Stderr)) }
