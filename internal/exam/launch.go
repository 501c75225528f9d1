package exam

import (
	"os/exec"
	"runtime"
	"sync"
)

// launcher starts all child processes from one thread that never ends:
// PR_SET_PDEATHSIG kills a child when the thread that started it ends, not the process:
// prctl(2).
var launcher = sync.OnceValue(func() chan func() {
	ch := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range ch {
			f()
		}
	}()
	return ch
})

// Launch starts a command whose SysProcAttr may have Pdeathsig.
func Launch(cmd *exec.Cmd) error {
	result := make(chan error)
	launcher() <- func() { result <- cmd.Start() }
	return <-result
}
