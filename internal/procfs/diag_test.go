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
		for _, want := range []int{5, 0, 1} { // another listen(2) changes the backlog
			if err := unix.Listen(listener, want); err != nil {
				t.Fatal(err)
			}
			all := must[[]Listener](t)(Listeners())
			i := slices.IndexFunc(all, func(l Listener) bool { return l.Inode == inode })
			if i < 0 || all[i].Backlog != want {
				t.Fatalf("%s: no listener with backlog %d among %+v", ip, want, all)
			}
			// The other fields must be the same as in /proc.
			if inProc := must[[]Socket](t)(TCP()); !slices.Contains(inProc, all[i].Socket) {
				t.Errorf("%s: TCP does not contain %+v", ip, all[i].Socket)
			}
		}
	}
}
