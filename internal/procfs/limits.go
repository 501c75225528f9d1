package procfs

import (
	"math"
	"strconv"
	"strings"
)

// Memory is the amount of RAM that a process uses, in bytes: proc(5),
// /proc/pid/status, which calls these values inaccurate. The kernel counts in
// batches per thread or per CPU, so several hundred KiB may be missing, and more
// with many threads or CPUs. All values are 0 for a zombie and a kernel thread.
type Memory struct {
	RSS  int64 // VmRSS: anonymous memory, mapped files and shared memory
	Anon int64 // RssAnon: anonymous memory alone, such as heap and stacks
}

// MemoryOf returns the memory of a process.
func MemoryOf(pid int) (Memory, error) {
	name := path(pid, "status")
	text, err := read(name)
	if err != nil {
		return Memory{}, err
	}
	var m Memory
	for key, field := range map[string]*int64{
		"VmRSS": &m.RSS, "RssAnon": &m.Anon,
	} {
		kilobytes, found := value(text, key)
		if !found {
			continue // a process without memory has no such line
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(kilobytes, " kB"), 10, 64)
		if err != nil {
			return Memory{}, malformed(name, text)
		}
		*field = n * 1024
	}
	return m, nil
}

// Limit is a resource limit: getrlimit(2). math.MaxUint64 means unlimited.
type Limit struct{ Soft, Hard uint64 }

// NOFILE returns the RLIMIT_NOFILE of a process: one more than the largest
// descriptor number that it may use. See proc(5), /proc/pid/limits.
func NOFILE(pid int) (Limit, error) {
	name := path(pid, "limits")
	text, err := read(name)
	if err != nil {
		return Limit{}, err
	}
	limit, ok := parseLimit(string(text), "Max open files")
	if !ok {
		return Limit{}, malformed(name, text)
	}
	return limit, nil
}

// parseLimit returns the two limits on the line that begins with label.
func parseLimit(text, label string) (Limit, bool) {
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, label+" ")
		if !found {
			continue
		}
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			return Limit{}, false
		}
		soft, err1 := parseLimitValue(fields[0])
		hard, err2 := parseLimitValue(fields[1])
		return Limit{soft, hard}, err1 == nil && err2 == nil
	}
	return Limit{}, false
}

func parseLimitValue(text string) (uint64, error) {
	if text == "unlimited" {
		return math.MaxUint64, nil
	}
	return strconv.ParseUint(text, 10, 64)
}
