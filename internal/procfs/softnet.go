package procfs

import (
	"os"
	"strconv"
	"strings"
)

// PacketsUnderWay returns how many packets CPUs have received and not processed
// yet: /proc/net/softnet_stat. Over the loopback interface, the kernel normally
// processes a packet before the call that sent it returns; on a busy machine it
// leaves that to a thread, ksoftirqd, and the packet waits. On a kernel that does
// not count them, before Linux 5.10, it returns 0.
func PacketsUnderWay() (int, error) {
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		return 0, err
	}
	const backlog = 11 // the column, a hexadecimal number
	packets := 0
	for cpu := range strings.Lines(string(text)) {
		columns := strings.Fields(cpu)
		if len(columns) <= backlog {
			return 0, nil
		}
		n, err := strconv.ParseUint(columns[backlog], 16, 32)
		if err != nil {
			return 0, malformed("/proc/net/softnet_stat", text)
		}
		packets += int(n)
	}
	return packets, nil
}
