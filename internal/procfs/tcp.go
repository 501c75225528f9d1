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

// Socket is a TCP socket: proc(5), /proc/net/tcp. A connection within this
// machine has two of them, one at each end.
type Socket struct {
	// An IPv4 connection of an IPv6 socket has IPv4 addresses here.
	// Remote of a listening socket is the unspecified address with port 0.
	Local, Remote netip.AddrPort

	State State

	// TxQueue is the number of bytes that the peer has not acknowledged, sent
	// or not. RxQueue is the number of bytes that the program has not read. A
	// FIN counts as one byte in both. (It leaves RxQueue when read(2) returns
	// 0, or together with the last bytes if the buffer had room for more.) For
	// a listening socket RxQueue is the number of connections that wait for
	// accept(2).
	//
	// (proc(5) calls these values "kernel memory usage". For TCP they are the
	// values of SIOCOUTQ and SIOCINQ, tcp(7), except that those do not count
	// the FIN.)
	TxQueue, RxQueue int

	// NotSent is the part of TxQueue that has not been sent yet, mostly because the
	// peer's queue is full: tcp(7), TCP_INFO, tcpi_notsent_bytes. Only [Connection] sets it.
	NotSent int

	// Inode is the Inode of the socket's descriptors, too: see [Owners]. It is
	// 0 while no descriptor exists, because the connection has not been
	// accepted yet (SYN_RECV, ESTABLISHED or CLOSE_WAIT) or because close(2)
	// has been called (TIME_WAIT and the states that lead to it).
	Inode uint64

	UID int // of the user that created the socket; 0 in TIME_WAIT
}

// State is a state of a TCP connection. The values are those of the kernel.
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

// String returns the name of the state in the kernel, without "TCP_".
func (s State) String() string {
	if s == 0 || int(s) >= len(stateNames) {
		return "state " + strconv.Itoa(int(s))
	}
	return stateNames[s]
}

// TCP returns the TCP sockets of our network namespace, IPv4 first. With
// thousands of sockets the kernel takes milliseconds to write the list. A socket
// that is created or closed or changes its state during this time may be missing
// or appear twice.
func TCP() ([]Socket, error) {
	return tcpIn("/proc/net/")
}

// TCPOf returns the TCP sockets of a process's network namespace, which differs
// from ours if the process is in a container: network_namespaces(7). See [TCP].
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
// does not allocate memory for each line.
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

// parseSocket parses a line such as
//
//	7: 0100007F:18EB 0100007F:C350 01 00000000:00000010 00:00000000 00000000 0 0 4711 1 …
//
// with the fields number, local, remote, state, queues, timer, retransmits, UID,
// timeout and inode. The fields after these are not needed.
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

// parseAddrPort parses "0100007F:18EB", which is 127.0.0.1:6379 on a
// little-endian machine. The address is one 32-bit word, or four for IPv6. The
// kernel stores each word in network byte order, but prints it as if it were in
// the byte order of the machine. The port is printed as a plain number.
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

// parseUint exists because strconv cannot parse a []byte. The conversion to a
// string stays on the stack.
func parseUint(text []byte, base, bits int) (uint64, error) {
	return strconv.ParseUint(string(text), base, bits)
}
