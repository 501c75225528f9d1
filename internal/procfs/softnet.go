package procfs

import (
	"os"
	"strconv"
	"strings"
)

// PacketsUnderWay returns the number of packets that the CPUs have received but
// not processed yet: /proc/net/softnet_stat. On the loopback interface, the
// kernel normally processes a packet before the call that sent it returns. On a
// busy machine it leaves that to the thread ksoftirqd, and the packet waits.
// Kernels before Linux 5.10 do not count these packets; the result is then 0.
func PacketsUnderWay() (int, error) {
	text, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		return 0, err
	}
	const backlog = 11 // index of the column, which is hexadecimal
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
