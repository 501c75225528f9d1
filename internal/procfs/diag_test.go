package procfs

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListeners(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		listener, _ := listen(t, ip)
		inode := must[uint64](t)(Inode(os.Getpid(), listener))
		for _, want := range []int{5, 0, 1} { // a second listen(2) changes it
			if err := unix.Listen(listener, want); err != nil {
				t.Fatal(err)
			}
			all := must[[]Listener](t)(Listeners())
			i := slices.IndexFunc(all, func(l Listener) bool { return l.Inode == inode })
			if i < 0 || all[i].Backlog != want {
				t.Fatalf("%s: want backlog %d among %+v", ip, want, all)
			}
			// For the rest, /proc must say the same.
			if inProc := must[[]Socket](t)(TCP()); !slices.Contains(inProc, all[i].Socket) {
				t.Errorf("%s: /proc does not have %+v", ip, all[i].Socket)
			}
		}
	}
}
