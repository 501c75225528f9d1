package procfs

import (
	"os"
	"testing"
	"time"
)

// manySockets opens 5,000 connections with both ends in this process: 10,000
// sockets, not counting those in TIME_WAIT.
func manySockets(b *testing.B) {
	b.Helper()
	const connections = 5000
	if limit := must[Limit](b)(NOFILE(os.Getpid())); limit.Soft < 2*connections+100 {
		b.Skipf("RLIMIT_NOFILE is %d", limit.Soft)
	}
	listener, addr := listen(b, "127.0.0.1")
	for range connections {
		dial(b, addr)
		accept(b, listener)
	}
}

func BenchmarkTCP(b *testing.B) {
	manySockets(b)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n = len(must[[]Socket](b)(TCP()))
	}
	b.ReportMetric(float64(n), "sockets")
}

func BenchmarkFDs(b *testing.B) {
	manySockets(b)
	b.Run("FDs", func(b *testing.B) {
		for b.Loop() {
			must[[]FD](b)(FDs(os.Getpid()))
		}
	})
	b.Run("FDCount", func(b *testing.B) {
		for b.Loop() {
			must[int](b)(FDCount(os.Getpid()))
		}
	})
	b.Run("Owners", func(b *testing.B) {
		for b.Loop() {
			must[map[uint64][]Owner](b)(Owners(1))
		}
	})
}

func BenchmarkThreadCPU(b *testing.B) {
	threads := len(must[[]Thread](b)(Threads(os.Getpid())))
	b.ReportAllocs()
	for b.Loop() {
		must[map[int]time.Duration](b)(ThreadCPU(os.Getpid()))
	}
	b.ReportMetric(float64(threads), "threads")
}

func BenchmarkThreads(b *testing.B) {
	for b.Loop() {
		must[[]Thread](b)(Threads(os.Getpid()))
	}
}
