package procfs

import (
	"math"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMemory(t *testing.T) {
	before := must[Memory](t)(MemoryOf(os.Getpid()))
	if before.Anon <= 0 || before.RSS <= before.Anon {
		t.Errorf("got %+v, want 0 < Anon < RSS", before)
	}
	for _, n := range []int64{before.RSS, before.Anon} {
		if n%int64(os.Getpagesize()) != 0 { // detects a wrong unit
			t.Errorf("got %d bytes, want a multiple of the page size", n)
		}
	}
	const size, slack = 64 << 20, 16 << 20
	m := must[[]byte](t)(unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON))
	for i := 0; i < len(m); i += 4096 {
		m[i] = 1
	}
	during := must[Memory](t)(MemoryOf(os.Getpid()))
	for name, grown := range map[string]int64{"RSS": during.RSS - before.RSS, "Anon": during.Anon - before.Anon} {
		if grown < size-slack || grown > size+slack {
			t.Errorf("%s: grew by %d, want about %d", name, grown, size)
		}
	}
	if err := unix.Munmap(m); err != nil {
		t.Fatal(err)
	}
	after := must[Memory](t)(MemoryOf(os.Getpid()))
	if after.Anon > during.Anon-size+slack {
		t.Errorf("after munmap: got %+v, want less Anon than before: %+v", after, during)
	}
}

func TestNOFILE(t *testing.T) {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		t.Fatal(err)
	}
	if got, want := must[Limit](t)(NOFILE(os.Getpid())), (Limit{own.Cur, own.Max}); got != want {
		t.Errorf("this process: got %+v, want %+v", got, want)
	}
	cmd := startChild(t, "wait", executable(t))
	set := unix.Rlimit{Cur: 33, Max: 44}
	if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_NOFILE, &set, nil); err != nil {
		t.Fatal(err)
	}
	if got, want := must[Limit](t)(NOFILE(cmd.Process.Pid)), (Limit{33, 44}); got != want {
		t.Errorf("child: got %+v, want %+v", got, want)
	}

	text := "Limit     Soft Limit   Hard Limit   Units\n" +
		"Max open files            1024                 unlimited            files     \n" +
		"Max nice priority         0                    0                    \n"
	want := Limit{1024, math.MaxUint64}
	if got, ok := parseLimit(text, "Max open files"); !ok || got != want {
		t.Errorf("got %+v, %t; want %+v", got, ok, want)
	}
	if got, ok := parseLimit(text, "Max file size"); ok {
		t.Errorf("label that does not exist: got %+v", got)
	}
}
