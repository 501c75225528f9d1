// Package owed has the checks of what any echo server owes its clients, however it
// is made.
package owed

import "epoll-step-by-step/internal/exam"

var (
	echoServers    = []exam.Profile{exam.Echo, exam.LT, exam.ET}
	allEchoServers = []exam.Profile{exam.Echo, exam.LT, exam.ET, exam.Timeout, exam.Cores} // those of single exercises, too
)
