// Exercises lists, grades and explains the exercises.
//
// Usage:
//
//	exercises list                      all, with their state
//	exercises check N [-- command…]     build and grade main.go, or a command in any language
//	exercises check -all                grade all that are begun
//	exercises hint N                    the next hint
//	exercises solution [-force] N       the solution, once main.go has passed
//	exercises diff N                    main.go against its step; once passed, against the solution
//	exercises reset N                   the starter again; what was there is kept
//	exercises watch [N]                 grade each time that main.go is saved
//
// N is 7, 07 or 07-half-close. In the command, {addr}, {host} and {port} stand
// for an address that the examiner chooses.
//
// It exits 0 if all was passed, 1 if something failed, 2 if it was misused or
// there was nothing to grade: a build error, a server that never listened, a
// check that this machine is too small for. Interrupted, it exits 130.
package main

import (
	"os"

	"epoll-step-by-step/internal/exercises"
)

func main() { os.Exit(exercises.Main(os.Args[1:])) }
