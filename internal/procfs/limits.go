package procfs

import (
	"math"
	"strconv"
	"strings"
)

// Memory is what a process has in RAM, in bytes: proc(5), /proc/pid/status,
// which calls it inaccurate. The kernel adds up in batches, per thread or per
// CPU: some hundred KiB may be missing, more where there are many.
// All are 0 for a zombie and a kernel thread.
type Memory struct {
	RSS  int64 // VmRSS: anonymous memory, mapped files and shared memory
	Anon int64 // RssAnon: what it has allocated itself
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
			continue // no memory, no line
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(kilobytes, " kB"), 10, 64)
		if err != nil {
			return Memory{}, malformed(name, text)
		}
		*field = n * 1024
	}
	return m, nil
}

// Limit is a resource limit: getrlimit(2). "Unlimited" is math.MaxUint64.
type Limit struct{ Soft, Hard uint64 }

// NOFILE returns the limit RLIMIT_NOFILE of a process: one more than the
// largest descriptor number that it may have. See proc(5), /proc/pid/limits.
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

// parseLimit finds the line with a label, soft limit and hard limit.
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
