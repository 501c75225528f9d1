package exam

import "testing"

// A port that one examiner has claimed is not given to another one, although its
// server may not listen yet.
func TestClaim(t *testing.T) {
	addr, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	if !bindable(addr) {
		t.Errorf("%v is taken", addr)
	}
	if claim(int(addr.Port())) {
		t.Errorf("port %d was claimed twice", addr.Port())
	}
}
