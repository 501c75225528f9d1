package exam

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
)

var lastID = func() *atomic.Uint64 {
	var id atomic.Uint64
	id.Store(rand.Uint64())
	return &id
}()

// UniqueID returns a number that no client and no earlier call has.
func UniqueID() uint64 { return lastID.Add(1) }

// NewPattern returns n bytes of a pattern that no client sends.
func NewPattern(n int) []byte {
	p := make([]byte, n)
	pattern(p, UniqueID(), 0)
	return p
}

// pattern fills p with the bytes that client id sends from offset off on.
func pattern(p []byte, id uint64, off int) {
	for len(p) > 0 {
		x := number(id, off/8)&0x3f3f3f3f3f3f3f3f + 0x3030303030303030 // '0' to 'o'
		if off/8%2 == 1 {
			x = x<<8>>8 | '\n'<<56
		}
		if off%8 == 0 && len(p) >= 8 {
			binary.LittleEndian.PutUint64(p, x)
			p, off = p[8:], off+8
			continue
		}
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], x)
		n := copy(p, word[off%8:])
		p, off = p[n:], off+n
	}
}

// number returns the i-th number of a sequence that id determines: SplitMix64.
func number(id uint64, i int) uint64 {
	x := id ^ uint64(i)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// FirstDifference returns the index of the first byte that differs, or -1.
func FirstDifference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

// Excerpt returns the first few bytes.
func Excerpt(b []byte) []byte { return b[:min(len(b), 8)] }
