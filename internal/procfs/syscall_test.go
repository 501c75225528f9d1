package procfs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseSyscall(t *testing.T) {
	call := fmt.Sprintf("%d 0x3 0x7f0000000000 0x80 0x0 0xffffffffffffffff 0x8 0x7ffec 0x7fc7\n", unix.SYS_EPOLL_PWAIT)
	args := [6]uint64{3, 0x7f0000000000, 0x80, 0, math.MaxUint64, 8}
	for _, tt := range []struct {
		text, string string
		want         Syscall
	}{
		{"running\n", "running", Syscall{State: SyscallRunning, Number: -1}},
		{"-1 0x7ffec 0x7fc7\n", "not in a system call", Syscall{State: SyscallNone, Number: -1}},
		{call, "epoll_pwait", Syscall{SyscallBlocked, unix.SYS_EPOLL_PWAIT, "epoll_pwait", args}},
		{"9999 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2\n", "syscall 9999", Syscall{State: SyscallBlocked, Number: 9999}},
	} {
		got, err := parseSyscall(tt.text)
		if err != nil || got != tt.want {
			t.Errorf("%q: got %+v, %v; want %+v", tt.text, got, err, tt.want)
		}
		if got.String() != tt.string {
			t.Errorf("%q: got String %q, want %q", tt.text, got, tt.string)
		}
	}
	for _, bad := range []string{"", "walking", "0 0x0", "x 0x0 0x0 0x0 0x0 0x0 0x0 0x1 0x2"} {
		if got, err := parseSyscall(bad); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, got)
		}
	}
	if s := (Syscall{}).String(); s != "unknown" {
		t.Errorf("zero value: got %q, want unknown", s)
	}
}

// Every name in the tables matches the name of its constant.
func TestSyscallNames(t *testing.T) {
	for _, file := range []string{"syscall.go", "syscall_amd64.go"} {
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		rows := 0
		ast.Inspect(tree, func(n ast.Node) bool {
			row, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			constant, ok := row.Key.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			rows++
			want := strconv.Quote(strings.ToLower(strings.TrimPrefix(constant.Sel.Name, "SYS_")))
			if got := row.Value.(*ast.BasicLit).Value; got != want {
				t.Errorf("%s: the name of %s is %s, want %s", file, constant.Sel.Name, got, want)
			}
			return true
		})
		if rows < 10 {
			t.Errorf("%s: %d rows, want 10 or more", file, rows)
		}
	}
	if runtime.GOARCH == "amd64" && syscallNames[232] != "epoll_wait" {
		t.Errorf("amd64: the name of 232 is %q, want epoll_wait", syscallNames[232])
	}
}
