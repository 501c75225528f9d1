// Docs makes the blocks of the documents that are not written by hand: what
// the code says and what the programs print. The tests of this package look
// whether they are still true.
//
// Usage, in the root of the repository:
//
//	go run ./tools/docs [FILE...]      refresh all blocks of all documents
//	go run ./tools/docs -n [FILE...]   change nothing, say what is stale
//	go run ./tools/docs -static [FILE...]   refresh only what needs no program to
//	                                        run: code, diffs, compatibility
//
// It also says which links lead nowhere, and whatever else links.go looks for. It
// exits 1 if a block could not be made or, with -n, is stale, or if there is
// anything else to say. Misused, it exits 2.
package main

import (
	"os"

	"epoll-step-by-step/internal/doctest"
)

func main() { os.Exit(doctest.Main(os.Args[1:], os.Stdout, os.Stderr)) }
