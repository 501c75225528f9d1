package exam

import (
	"net/netip"
	"strings"
	"testing"

	"epoll-step-by-step/internal/procfs"
)

// A port that one examiner has claimed is not given to another one, although its
// server may not listen yet.
func TestClaim(t *testing.T) {
	addr, err := freePort(localhost)
	if err != nil {
		t.Fatal(err)
	}
	if err := bind(addr); err != nil {
		t.Errorf("%v is taken: %v", addr, err)
	}
	if claim(int(addr.Port())) {
		t.Errorf("port %d was claimed twice", addr.Port())
	}
}

// [::] gets connections to IPv4 addresses as well, unless IPV6_V6ONLY is set; 0.0.0.0
// gets none to IPv6 addresses.
func TestCovers(t *testing.T) {
	for _, tt := range []struct {
		local, addr string
		v6only      bool
		want        bool
	}{
		{"127.0.0.1:80", "127.0.0.1:80", false, true},
		{"127.0.0.1:80", "127.0.0.2:80", false, false},
		{"127.0.0.1:80", "127.0.0.1:81", false, false},
		{"0.0.0.0:80", "127.0.0.1:80", false, true},
		{"0.0.0.0:80", "[::1]:80", false, false},
		{"[::1]:80", "[::1]:80", true, true},
		{"[::1]:80", "127.0.0.1:80", false, false},
		{"[::]:80", "[::1]:80", true, true},
		{"[::]:80", "[::1]:80", false, true},
		{"[::]:80", "127.0.0.1:80", false, true},
		{"[::]:80", "127.0.0.1:80", true, false},
	} {
		l := procfs.Listener{Socket: procfs.Socket{Local: netip.MustParseAddrPort(tt.local)}, V6Only: tt.v6only}
		if got := covers(l, netip.MustParseAddrPort(tt.addr)); got != tt.want {
			t.Errorf("%s, IPV6_V6ONLY %v: covers %s is %v", tt.local, tt.v6only, tt.addr, got)
		}
	}
}

// The words of a command that stand for an address fit both families.
func TestExpand(t *testing.T) {
	command := []string{"server", "{addr}", "-h={host}", "-p", "{port}"}
	for addr, want := range map[string]string{
		"127.0.0.1:80": "server 127.0.0.1:80 -h=127.0.0.1 -p 80",
		"[::1]:80":     "server [::1]:80 -h=::1 -p 80",
	} {
		if got := strings.Join(expand(command, netip.MustParseAddrPort(addr)), " "); got != want {
			t.Errorf("%s: got %s, want %s", addr, got, want)
		}
	}
	if !TakesAddr(command) || TakesAddr([]string{"server", "port"}) || TakesAddr(nil) {
		t.Error("TakesAddr does not see the words that stand for an address")
	}
}
