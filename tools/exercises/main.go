// Exercises lists, grades and explains the exercises. Without arguments it
// prints its usage.
//
// It exits with 0 if everything passed, with 1 if something failed, and with 2
// if it was misused or could not grade: a build error, a server that never
// listened, a check that this machine is too small for. Interrupted, it exits
// with 130.
package main

import (
	"os"

	"epoll-step-by-step/internal/exercises"
)

const usage = `usage: exercises list                    list all exercises with their state
       exercises check N [-- command…]   build and grade main.go, or grade a command in any language
       exercises check -all              grade every exercise that you have begun
       exercises hint N                  show the next hint
       exercises solution [-force] N     show the solution, once main.go has passed
       exercises diff N                  compare main.go with its step and, after a pass, with the solution
       exercises path N                  print the folder of main.go, which is made if it does not exist
       exercises reset N                 bring the starter back; your text is kept beside it
       exercises watch [N]               grade main.go each time you save it
N is 7, 07 or 07-half-close. In a command, {addr}, {host} and {port} stand for
a free address.
`

func main() { os.Exit(exercises.Main(usage, os.Args[1:])) }
