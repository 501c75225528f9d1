package exam

import "sync"

// A WaitGroup is a sync.WaitGroup with the method Go, which Go 1.25 added to it.
type WaitGroup struct{ sync.WaitGroup }

// Go runs f in a goroutine that Wait waits for.
func (g *WaitGroup) Go(f func()) {
	g.Add(1)
	go func() {
		defer g.Done()
		f()
	}()
}
