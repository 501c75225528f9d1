package exam

import "sync"

// A group is a sync.WaitGroup with the method Go that Go 1.25 added to it.
type WaitGroup struct{ sync.WaitGroup }

// Go runs f in a goroutine that Wait waits for.
func (g *WaitGroup) Go(f func()) {
	g.Add(1)
	go func() {
		defer g.Done()
		f()
	}()
}
