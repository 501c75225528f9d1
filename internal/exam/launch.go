package exam

import (
	"os/exec"
	"runtime"
	"sync"
)

// PR_SET_PDEATHSIG kills the child when the *thread* that started it ends, not
// the process: prctl(2). So all are started by one thread that never ends.
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

func Launch(cmd *exec.Cmd) error {
	result := make(chan error)
	launcher() <- func() { result <- cmd.Start() }
	return <-result
}
