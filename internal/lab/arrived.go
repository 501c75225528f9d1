package lab

import (
	"time"

	"epoll-step-by-step/internal/procfs"
)

// awaitArrival waits until no packet is under way, so that the data sent by this
// line of a script has arrived when the next line runs.
func awaitArrival() {
	const patience = time.Second // other programs may never stop sending
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Microsecond) {
		if n, _ := procfs.PacketsUnderWay(); n == 0 {
			return
		}
	}
}
