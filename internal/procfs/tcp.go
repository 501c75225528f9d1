package procfs

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
)

// Socket is a TCP socket of our network namespace: proc(5), /proc/net/tcp. A
// connection within this machine has two: one for each end.
type Socket struct {
	// An IPv4 connection of an IPv6 socket has IPv4 addresses here, too.
	// Remote of a listening socket is the zero address with port 0.
	Local, Remote netip.AddrPort

	State State

	// TxQueue has the bytes that the peer has not acknowledged, sent or not,
	// RxQueue those that the program has not read. A FIN counts as one byte in
	// either. (It leaves RxQueue when read(2) returns 0, or already with the
	// last bytes if there was room for more of them.) For a listening socket
	// RxQueue is the number of connections that wait for accept(2).
	//
	// (proc(5) speaks of "kernel memory usage". For TCP that is not so: but for
	// the FIN, these are the numbers of tcp(7), SIOCOUTQ and SIOCINQ.)
	TxQueue, RxQueue int

	// Inode is also that of the socket's descriptors: see [Owners]. 0 while
	// there are none: nobody has accepted the connection yet (SYN_RECV,
	// ESTABLISHED or CLOSE_WAIT), or close(2) has been called (TIME_WAIT and
	// the states on the way there).
	Inode uint64

	UID int // of the user who made the socket; 0 in TIME_WAIT
}

// State is a state of a TCP connection, with the kernel's number.
type State uint8

const (
	TCPEstablished State = iota + 1
	TCPSynSent
	TCPSynRecv
	TCPFinWait1
	TCPFinWait2
	TCPTimeWait
	TCPClose
	TCPCloseWait
	TCPLastAck
	TCPListen
	TCPClosing
)

var stateNames = [...]string{
	TCPEstablished: "ESTABLISHED",
	TCPSynSent:     "SYN_SENT",
	TCPSynRecv:     "SYN_RECV",
	TCPFinWait1:    "FIN_WAIT1",
	TCPFinWait2:    "FIN_WAIT2",
	TCPTimeWait:    "TIME_WAIT",
	TCPClose:       "CLOSE",
	TCPCloseWait:   "CLOSE_WAIT",
	TCPLastAck:     "LAST_ACK",
	TCPListen:      "LISTEN",
	TCPClosing:     "CLOSING",
}

// String returns the state's name in the kernel, without "TCP_".
func (s State) String() string {
	if s == 0 || int(s) >= len(stateNames) {
		return "state " + strconv.Itoa(int(s))
	}
	return stateNames[s]
}

// TCP returns the TCP sockets of our network namespace, IPv4 first. With
// thousands of them the kernel takes milliseconds to write the list: one that
// comes, goes or changes its state meanwhile may be missed, or be there twice.
func TCP() ([]Socket, error) {
	return tcpIn("/proc/net/")
}

// TCPOf returns the TCP sockets of a process's network namespace, which is not
// ours if it is in a container: network_namespaces(7). See [TCP].
func TCPOf(pid int) ([]Socket, error) {
	return tcpIn(path(pid, "net/"))
}

func tcpIn(dir string) ([]Socket, error) {
	sockets, err := readTCP(nil, dir+"tcp")
	if err != nil {
		return nil, err
	}
	all, err := readTCP(sockets, dir+"tcp6")
	if errors.Is(err, fs.ErrNotExist) {
		return sockets, nil // a kernel without IPv6
	}
	return all, err
}

func readTCP(sockets []Socket, name string) ([]Socket, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return parseTCP(sockets, name, f)
}

// parseTCP appends the sockets of a file. There may be 20,000 lines, so it
// makes no garbage per line.
func parseTCP(sockets []Socket, name string, r io.Reader) ([]Socket, error) {
	lines := bufio.NewScanner(r)
	lines.Scan() // the headings
	for lines.Scan() {
		s, err := parseSocket(lines.Bytes())
		if err != nil {
			return nil, malformed(name, lines.Bytes())
		}
		sockets = append(sockets, s)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	return sockets, nil
}

// parseSocket reads a line like
//
//	7: 0100007F:18EB 0100007F:C350 01 00000000:00000010 00:00000000 00000000 0 0 4711 1 …
//
// which is: number, local, remote, state, queues, timer, retransmits, UID,
// timeout, inode, and more that nobody here needs.
func parseSocket(line []byte) (Socket, error) {
	var s Socket
	var err error
	fields := 0
	for field := range bytes.FieldsSeq(line) {
		switch fields++; fields {
		case 2:
			s.Local, err = parseAddrPort(field)
		case 3:
			s.Remote, err = parseAddrPort(field)
		case 4:
			var n uint64
			n, err = parseUint(field, 16, 8)
			s.State = State(n)
		case 5:
			tx, rx, _ := bytes.Cut(field, []byte(":"))
			var t, r uint64
			t, err = parseUint(tx, 16, 32)
			if err == nil {
				r, err = parseUint(rx, 16, 32)
			}
			s.TxQueue, s.RxQueue = int(t), int(r)
		case 8:
			var n uint64
			n, err = parseUint(field, 10, 32)
			s.UID = int(n)
		case 10:
			s.Inode, err = parseUint(field, 10, 64)
		}
		if err != nil {
			return Socket{}, err
		}
		if fields == 10 {
			return s, nil
		}
	}
	return Socket{}, fmt.Errorf("%d fields", fields)
}

// parseAddrPort reads "0100007F:18EB", which is 127.0.0.1:6379 on a machine
// with little-endian words. The address is one word, or four for IPv6: each is
// in memory as on the network, and printed as if it were a number of this
// machine. The port is printed as the number that it is.
func parseAddrPort(text []byte) (netip.AddrPort, error) {
	words, port, _ := bytes.Cut(text, []byte(":"))
	n, err := parseUint(port, 16, 16)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(words) != 8 && len(words) != 4*8 {
		return netip.AddrPort{}, fmt.Errorf("address of %d digits", len(words))
	}
	var ip [16]byte
	for i := 0; i < len(words)/8; i++ {
		word, err := parseUint(words[i*8:i*8+8], 16, 32)
		if err != nil {
			return netip.AddrPort{}, err
		}
		binary.NativeEndian.PutUint32(ip[i*4:], uint32(word))
	}
	addr := netip.AddrFrom16(ip).Unmap()
	if len(words) == 8 {
		addr = netip.AddrFrom4([4]byte(ip[:4]))
	}
	return netip.AddrPortFrom(addr, uint16(n)), nil
}

// parseUint exists because strconv has no such function for bytes; the
// conversion is on the stack and costs no garbage.
func parseUint(text []byte, base, bits int) (uint64, error) {
	return strconv.ParseUint(string(text), base, bits)
}
