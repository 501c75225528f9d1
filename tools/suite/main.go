// Suite runs the tests of the repository: make test and make soak.
//
// Usage, in the root of the repository:
//
//	suite [-short] [-run REGEXP] PACKAGES                     once, and reports as it goes
//	suite -n N [-when quiet,busy,one] [-run REGEXP] PACKAGES  N times under each condition
//
// It exits 0 if all passed, 1 if a test failed, 2 if the tests could not be run,
// and 130 when it is interrupted.
package main

import (
	"os"

	"epoll-step-by-step/internal/suite"
)

func main() { os.Exit(suite.Main(os.Args[1:], os.Stdout, os.Stderr)) }
