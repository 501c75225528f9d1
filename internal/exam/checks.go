package exam

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"epoll-step-by-step/internal/procfs"

	"golang.org/x/sys/unix"
)

// The checks, in the order of the table. Each has a server and a list of
// clients to itself. What a client meets is returned as it is: an error that is
// no verdict of its own is a failure of the check.

func noReply(s *session) error {
	c, err := s.dial(0)
	if err != nil {
		return err
	}
	if err := firstContact(s, c); err != nil {
		return err
	}
	if err := c.echo(3, limits.reply); err != nil {
		s.note("sent", "3 bytes, without a line end")
		return s.fail("got back", "%v", c.outcome(0, 3, err))
	}
	for i := range 256 {
		before := c.got
		if err := c.echo(1, limits.reply); err != nil {
			s.note("sent", "1 byte at a time, each after the last had come back; the %s", ordinal(i+1))
			return s.fail("got back", "%v", c.outcome(before, 1, err))
		}
	}
	// And what fills a buffer to its last byte.
	for n := 1 << 10; n <= 64<<10; n *= 2 {
		before := c.got
		if err := c.echo(n, limits.reply); err != nil {
			s.note("sent", "%d bytes, and nothing after them", n)
			return s.fail("got back", "%v", c.outcome(before, n, err))
		}
	}
	s.note("sent", "16 bytes, 3 bytes, 256 times 1 byte, 1 to 64 KiB: all answered")
	return nil
}

// firstContact finds out whether this is an echo server at all. The text ends
// in a line end, so that servers of other protocols answer as well.
func firstContact(s *session, c *client) error {
	const hello = "hello, examiner\n"
	s.note("sent", "%q", hello)
	c.SetDeadline(time.Now().Add(limits.first))
	if _, err := c.Write([]byte(hello)); err != nil {
		return plain(err)
	}
	buf := make([]byte, len(hello))
	n, err := io.ReadFull(c, buf)
	if n > 0 && !bytes.HasPrefix([]byte(hello), buf[:n]) {
		rest := make([]byte, 256)
		c.SetReadDeadline(time.Now().Add(limits.stalled))
		m, _ := c.Read(rest)
		s.note("got back", "%q", append(buf[:n], rest[:m]...))
		return &stopGrading{StatusNotEcho, "this is no echo server: what comes back is not what was sent"}
	}
	if n > 0 && err != nil {
		s.note("got back", "%q, then %v", buf[:n], orSilence(err, limits.first))
		return &stopGrading{StatusNotEcho, "the first message did not come back whole"}
	}
	if err != nil {
		s.note("got back", "nothing: %v", orSilence(err, limits.first))
		return &stopGrading{StatusHang, "it listens and does not answer"}
	}
	return nil
}

func orSilence(err error, d time.Duration) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("the server closed the connection")
	}
	err = plain(err)
	if err != nil && err.Error() == "timed out" {
		return fmt.Errorf("silence for %v", d)
	}
	return err
}

func wrongBytes(s *session) error {
	c, err := s.dial(0)
	if err != nil {
		return err
	}
	ascending, descending := make([]byte, 256), make([]byte, 256)
	for i := range 256 {
		ascending[i], descending[255-i] = byte(i), byte(i)
	}
	for _, msg := range [][]byte{ascending, descending, bytes.Repeat([]byte("\r\n\x00\xff"), 64)} {
		s.note("sent", "256 bytes: %q …", msg[:8])
		c.SetDeadline(time.Now().Add(limits.reply))
		if _, err := c.Write(msg); err != nil {
			return plain(err)
		}
		got := make([]byte, len(msg))
		n, err := io.ReadFull(c, got)
		if i := differ(got[:n], msg[:n]); i >= 0 {
			return s.fail("got back", "at byte %d: %q instead of %q", i, few(got[i:n]), few(msg[i:n]))
		}
		if err != nil {
			return s.fail("got back", "%d of them, up to %q, then %v", n, msg[max(0, n-1):n], orSilence(err, limits.reply))
		}
	}
	return nil
}

func oneAtATime(s *session) error {
	a, err := s.dial(0)
	if err != nil {
		return err
	}
	b, err := s.dial(0)
	if err != nil {
		return err
	}
	for i := range 20 {
		turns := []*client{a, b}
		if i%4 == 3 {
			// A server that waits for each of them in turn would get along with that.
			turns = []*client{a, a, b, b}
		}
		for _, c := range turns {
			before := c.got
			if err := c.ping(limits.reply); err != nil {
				s.note("sent", "16 bytes from each of two clients in turn, both open; turn %d, %s client", i+1, map[*client]string{a: "1st", b: "2nd"}[c])
				return s.fail("got back", "%v", c.outcome(before, pingSize, err))
			}
		}
	}
	s.note("sent", "16 bytes, 25 times from each of two clients in turn: all answered")
	return nil
}

// transfer sends n bytes, without reading until the server takes no more; then
// it reads, at its pace, while the rest is sent.
func (s *session) transfer(c *client, n int, pace func()) error {
	before, owed := c.got, c.sent-c.got
	offered, err := c.offer(n)
	if err != nil {
		s.note("sent", "%d bytes without reading, then: %v", offered, err)
		return errFailed
	}
	s.note("sent", "%d bytes without reading, then read and sent the rest of %d", offered, n)
	rest := make(chan error, 1)
	go func() {
		var err error
		for left := n - offered; left > 0 && err == nil; {
			m := min(left, 64<<10)
			err = c.send(m, limits.check)
			left -= m
		}
		rest <- err
	}()
	err = c.receive(owed+n, limits.silence, pace)
	if err != nil {
		s.note("got back", "%v", c.outcome(before, owed+n, err))
		s.note("server", "%s", s.state()) // before the sender gives up
		if err == errSilence {
			s.leftUnread(c)
		}
		c.reset() // and with it the sender, who would set another deadline
		<-rest
		return errFailed
	}
	return <-rest
}

// leftUnread says what is usually wrong if bytes of c are unread and nothing
// comes back.
func (s *session) leftUnread(c *client) {
	end, _, err := c.serverEnd()
	if err != nil || end.RxQueue == 0 {
		return
	}
	switch doing := s.server.doing(); {
	case strings.HasPrefix(doing, "asleep in epoll"):
		s.usually = "no event will come for the bytes that are unread: their one edge is used up, " +
			"or after EAGAIN nobody asked for EPOLLOUT or, later, for EPOLLIN again"
	case doing == "running":
		s.usually = "it is awake and does not read what has come: after EAGAIN, writing was not taken up again, or reading was not"
	}
}

func lostBytes(s *session) error {
	c, err := s.dial(0)
	if err != nil {
		return err
	}
	return s.transfer(c, limits.message, nil)
}

func stuckWriter(s *session) error {
	c, err := s.dial(limits.tiny)
	if err != nil {
		return err
	}
	return s.transfer(c, limits.message, sipping())
}

// sipping is the pace of a slow reader: slow at first, so that the server meets
// a full queue again and again; then as fast as it can, or it would never end.
func sipping() func() {
	sips := 0
	return func() {
		if sips++; sips <= 200 {
			time.Sleep(time.Millisecond)
		}
	}
}

func unboundedBuffer(s *session) error {
	c, err := s.dial(0)
	if err != nil {
		return err
	}
	// What the first messages cost any server is not what we look for.
	for range 64 {
		if err := c.ping(limits.silence); err != nil {
			return err
		}
	}
	before, peak := s.server.rss(), s.peak()
	// It may sleep for a time, and then go on reading.
	offered, err := c.offerBy(limits.flood, c.next, func() bool { return false })
	most := peak()
	s.note("sent", "%d bytes without reading; %d were taken", limits.flood, offered)
	s.note("memory", "grew from %d KiB to %d KiB", before>>10, most>>10)
	if how, dead := s.server.died(); dead {
		return s.fail("server", "died: %s", how)
	}
	if most-before >= limits.growth {
		return errFailed
	}
	return err
}

func slowReaderBlocks(s *session) error {
	other, err := s.served()
	if err != nil {
		return err
	}
	slow, err := s.dial(0)
	if err != nil {
		return err
	}
	offered, err := slow.offer(limits.message)
	if err != nil {
		return err
	}
	s.note("sent", "%d bytes from a client that does not read; %d were taken", limits.message, offered)
	if d, err := other.pingWithin(limits.prompt); err != nil {
		return s.fail("another", "client sent 16 bytes meanwhile, %v", err)
	} else {
		s.note("another", "client was answered in %v", d)
	}
	if slow, err = s.dial(limits.tiny); err != nil {
		return err
	}
	s.offerAll(slow)
	s.note("then", "another one that does not read has called shutdown(SHUT_WR)")
	if d, err := other.pingWithin(limits.prompt); err != nil {
		return s.fail("another", "client sent 16 bytes meanwhile, %v", err)
	} else {
		s.note("another", "client was answered in %v", d)
	}
	s.usually = "while one client keeps it busy, the server does not accept(2) another: see ONE_AT_A_TIME"
	return s.serveAnother("meanwhile")
}

// serveAnother connects a new client, which is to be answered soon.
func (s *session) serveAnother(when string) error {
	c, err := s.dial(0)
	if err == nil {
		err = c.ping(limits.newcomer)
	}
	if err != nil {
		return s.fail("a new", "client %s: %v", when, silent(err, limits.newcomer))
	}
	return nil
}

// pingWithin has three tries, so that one moment at which the machine had
// other things to do is not the server's fault. An unanswered try ends it.
func (c *client) pingWithin(d time.Duration) (time.Duration, error) {
	var took time.Duration
	for range 3 {
		begin, before := time.Now(), c.got
		if err := c.ping(4 * d); err != nil {
			return 0, fmt.Errorf("and got %v", c.outcome(before, pingSize, silent(err, 4*d)))
		}
		if took = time.Since(begin).Round(10 * time.Microsecond); took < d {
			return took, nil
		}
	}
	return took, fmt.Errorf("and was answered only after %v", took)
}

func silent(err error, d time.Duration) error {
	if err == errSilence {
		return fmt.Errorf("silence for %v", d)
	}
	return err
}

func halfClose(s *session) error {
	for i := range 20 {
		c, err := s.dial(0)
		if err != nil {
			return err
		}
		if err := c.send(pingSize, limits.reply); err != nil {
			return err
		}
		if err := c.CloseWrite(); err != nil {
			return plain(err)
		}
		if err := s.owed(c, limits.reply, nil); err != nil {
			s.note("sent", "16 bytes, then shutdown(SHUT_WR); the %s of 20 clients", ordinal(i+1))
			return s.fail("got back", "%v", err)
		}
		c.Close()
	}
	c, err := s.dial(0)
	if err != nil {
		return err
	}
	offered, err := c.offer(limits.message)
	if err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return plain(err)
	}
	s.note("sent", "%d bytes without reading, then shutdown(SHUT_WR), then read", offered)
	if err := s.owed(c, limits.silence, sipping()); err != nil {
		return s.fail("got back", "%v", err)
	}
	return nil
}

// owed wants all that c has sent, and then the end.
func (s *session) owed(c *client, d time.Duration, pace func()) error {
	if err := c.receive(c.sent-c.got, d, pace); err != nil {
		if err == errSilence {
			s.leftUnread(c)
		}
		return c.outcome(0, c.sent, err)
	}
	if err := c.eof(d); err != nil {
		s.usually = "read(2) returned 0, or would have: it was not called again, and close(2) neither"
		if s.server.doing() == "running" {
			s.usually = "read(2) returns 0, which is no error, and the loop asks again, and again: it is time for close(2)"
		}
		return fmt.Errorf("all of it, and then no EOF: %w", silent(err, d))
	}
	return nil
}

func diedOnReset(s *session) error {
	for i := range limits.resets {
		c, err := s.dial([]int{0, 0, limits.tiny}[i%3])
		if err != nil {
			return err
		}
		switch i % 3 {
		case 1:
			err = c.send(64<<10, limits.reply) // what comes back stays unread
		case 2:
			c.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
			c.Write(make([]byte, 4<<20)) // and the server may be in the middle of its answer
		}
		if err != nil {
			return err
		}
		c.reset()
	}
	s.note("sent", "%d RSTs: at once, with unread data, with data under way", limits.resets)
	return s.serveAnother("afterwards")
}

// outOfFDs brings the server to where accept(2) returns EMFILE. It returns the
// first client, which is being served, and the CPU share of the time before.
func outOfFDs(s *session) (*client, float64, error) {
	first, err := s.served()
	if err != nil {
		return nil, 0, err
	}
	before := s.spins(300 * time.Millisecond)
	var wg group
	for range limits.manyFDs - 1 {
		wg.Go(func() { s.dial(0) }) // the listen(2) backlog may be short
	}
	wg.Wait()
	// It has taken what it could when nothing changes any more.
	settled := func() int { return s.server.descriptors() }
	for n, since := settled(), time.Now(); time.Since(since) < limits.stalled; time.Sleep(10 * time.Millisecond) {
		if m := settled(); m != n {
			n, since = m, time.Now()
		}
	}
	s.note("clients", "%d connected", limits.manyFDs)
	if n := s.server.descriptors(); n > 0 {
		s.note("open", "%d descriptors", n)
	}
	return first, before, nil
}

func diedOutOfFDs(s *session) error {
	first, _, err := outOfFDs(s)
	if err != nil {
		return err
	}
	if how, dead := s.server.died(); dead {
		return s.fail("server", "died: %s", how)
	}
	if _, err := first.pingWithin(limits.prompt); err != nil {
		s.usually = "the loop waits for a descriptor, and its clients wait with it"
		return s.fail("the first", "client sent 16 bytes %v", err)
	}
	return nil
}

func spinsOutOfFDs(s *session) error {
	_, before, err := outOfFDs(s)
	if err != nil {
		return err
	}
	if _, dead := s.server.died(); dead {
		return &skip{"the server died: see DIED_OUT_OF_FDS"}
	}
	if before >= limits.spinCPU {
		return &skip{fmt.Sprintf("it wants a CPU %.0f %% of the time even when nothing happens: see BUSY_LOOP", before*100)}
	}
	during := s.spins(time.Second)
	s.note("CPU", "wanted %.1f %% of the time before, %.1f %% with clients that cannot be accepted", before*100, during*100)
	if during >= limits.spinCPU {
		return errFailed
	}
	return nil
}

func deafOutOfFDs(s *session) error {
	first, _, err := outOfFDs(s)
	if err != nil {
		return err
	}
	if _, dead := s.server.died(); dead {
		return &skip{"the server died: see DIED_OUT_OF_FDS"}
	}
	if err := s.letIn(first); err != nil {
		return err
	}
	s.mu.Lock()
	for _, c := range s.clients {
		c.Close()
	}
	s.mu.Unlock()
	return s.serveAnother("when all others had gone")
}

// letIn has a client that is served leave. One of those who wait is to be served
// then, without anybody new having to knock.
func (s *session) letIn(first *client) error {
	waits := make([]bool, len(s.clients))
	var wg group
	for i, c := range s.clients {
		wg.Go(func() { waits[i] = c != first && c.ping(limits.stalled) == errSilence })
	}
	wg.Wait()
	answered := make(chan error, len(waits))
	waiting := 0
	for i, c := range s.clients {
		if waits[i] {
			waiting++
			go func() { answered <- c.receive(c.sent-c.got, limits.newcomer, nil) }()
		}
	}
	s.forget(first)
	for range waiting {
		if err := <-answered; err == nil {
			return nil
		}
	}
	if waiting > 0 {
		return s.fail("one left", "of those who were served, and of the %d who wait none was answered within %v", waiting, limits.newcomer)
	}
	return nil
}

// spins returns what share of the time the server wants a CPU. Who spins never
// stops; on a busy machine others may seem to, so it looks three times.
func (s *session) spins(d time.Duration) (wanted float64) {
	for range 3 {
		if _, wanted = s.share(d); wanted < limits.spinCPU {
			break
		}
	}
	return wanted
}

// share measures how much of one CPU the server uses during d, and how much it
// would use if nobody else did: a server that spins on a busy machine.
func (s *session) share(d time.Duration) (used, wanted float64) {
	cpu, waited := s.server.cpu()
	begin := time.Now()
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
	}
	cpu2, waited2 := s.server.cpu()
	took := float64(time.Since(begin))
	used = float64(cpu2-cpu) / took
	return used, used + float64(waited2-waited)/took
}

func busyLoop(s *session) error {
	for i := range limits.idle {
		if _, err := s.dial(0); err != nil {
			return s.fail("clients", "%d connected, then: %v", i, err)
		}
	}
	recovered, err := s.recovered()
	if err != nil {
		return err
	}
	s.note("clients", "%d connected, silent%s", limits.idle, map[bool]string{true: "; and one that had not read for a while, and then all"}[recovered != nil])
	if !s.idles(limits.watch) {
		return errFailed
	}
	// That they are closed instead is other checks' matter.
	c, err := s.dial(0)
	if err != nil {
		return err
	}
	c.stall(limits.message)
	if c, err = s.dial(limits.tiny); err != nil {
		return err
	}
	s.offerAll(c)
	s.note("two more", "sent what the server took, and read nothing; the second one has called shutdown(SHUT_WR)")
	if !s.idles(limits.quiet) {
		s.usually = "an event is asked for that nobody serves while a client is owed something: level-triggered, it is reported again at once"
		return errFailed
	}
	if recovered == nil {
		return nil // another check's matter; and one more may be waited for in vain
	}
	return s.wakes()
}

// wakes finds out whether the server sleeps in a call that ends when there is
// something to do: if it sleeps, and a client's bytes lie in its receive queue
// before and after, it does not.
func (s *session) wakes() error {
	c, err := s.served()
	if err != nil {
		return nil // that others are served meanwhile is SLOW_READER_BLOCKS's matter
	}
	naps := 0
	for range limits.pings {
		s.awaitSleep()
		if err := c.send(pingSize, limits.reply); err != nil {
			return err
		}
		if c.waits() && s.asleep() && c.waits() {
			naps++
		}
		if err := c.receive(pingSize, limits.reply, nil); err != nil {
			return err
		}
	}
	if naps >= limits.naps {
		s.usually = "the loop sleeps for a time that it has chosen, and a client that speaks does not wake it"
		return s.fail("another", "client sent 16 bytes %d times; %d times the server went on sleeping", limits.pings, naps)
	}
	return nil
}

// waits tells whether bytes of c lie in the server's receive queue.
func (c *client) waits() bool {
	end, _, err := c.serverEnd()
	return err == nil && end.RxQueue > 0
}

// recovered connects a client that reads nothing until the server takes no more,
// and then all that it is owed. It is nil if it does not get that: other checks
// say so.
func (s *session) recovered() (*client, error) {
	c, err := s.dial(0)
	if err != nil {
		return nil, err
	}
	facts, usually := s.facts, s.usually
	err = s.transfer(c, limits.message, nil)
	s.facts, s.usually = facts, usually
	if err == nil {
		err = c.ping(limits.reply)
	}
	if err != nil {
		s.forget(c)
		return nil, nil
	}
	return c, nil
}

// offerAll makes the server owe c something although it has read all that c
// sends: the end of the stream comes on top of that.
func (s *session) offerAll(c *client) {
	defer c.CloseWrite()
	for c.sent < limits.message {
		n, err := c.offer(limits.edge)
		if n < limits.edge || err != nil || !s.awaitRead(c, limits.stalled) {
			return // it reads no more: the end comes behind what is unread
		}
		if taken, err := c.taken(); err != nil || c.sent > taken {
			return
		}
	}
}

// idles measures what a server costs that has nothing to do for a while.
func (s *session) idles(d time.Duration) bool {
	// Accepting clients is work, and so is tidying up after it.
	for deadline := time.Now().Add(limits.newcomer); time.Now().Before(deadline); {
		if _, wanted := s.share(limits.stalled); wanted < limits.idleCPU/2 {
			break
		}
	}
	used, _ := s.share(d)
	if used >= limits.idleCPU && used < limits.spinCPU { // once more: that may have been the machine's doing
		used, _ = s.share(d)
	}
	s.note("CPU", "%.1f %% of one CPU during %v", used*100, d)
	// What keeps it busy may sleep at the very moment when we look.
	for deadline := time.Now().Add(limits.stalled); used >= limits.idleCPU && time.Now().Before(deadline) && s.server.doing() != "running"; {
		time.Sleep(time.Millisecond)
	}
	return used < limits.idleCPU
}

// starved looks at what the server does while 16 bytes wait for it: how much of
// what the others send does it serve first? Bytes, not time, for on a busy
// machine every answer takes long.
func starved(s *session) error {
	third, err := s.dialRaw()
	if err != nil {
		return err
	}
	var hoses []*firehose
	for range 2 {
		f, err := s.dialFirehose()
		if err != nil {
			return err
		}
		hoses = append(hoses, f)
	}
	s.note("clients", "two that send without end, and read; one that sends 16 bytes now and then")
	begin := time.Now()
	for deadline := begin.Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		sum := 0
		for _, f := range hoses {
			n, _ := f.count(begin, time.Now())
			sum += n
		}
		if sum > 4*limits.flood {
			break // by now the kernel has made their queues large
		}
	}
	// How long the server stays with one client is its luck, too: now and then
	// that client's queues are empty or full for a moment. So a doubtful average
	// gets more rounds.
	const few, many = 10, 40
	var took time.Duration
	first, rounds := 0, 0
	for rounds < few || rounds < many && first/rounds > limits.fair && first/rounds <= limits.unfair {
		rounds++
		var sent time.Time
		send := func() error {
			sent = time.Now()
			_, err := unix.Write(third.fd, make([]byte, pingSize))
			return os.NewSyscallError("write", err)
		}
		if s.start == nil {
			err = send()
		} else {
			// While it is stopped, its queues fill up.
			err = s.pause(func() error {
				s.awaitFullQueues(hoses)
				return send()
			})
		}
		if err != nil {
			return err
		}
		var answer [pingSize]byte
		a, err := third.recv(answer[:], unix.MSG_WAITALL)
		if err != nil && s.start != nil {
			if _, dead := s.server.dies(); dead {
				return &skip{"the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL"}
			}
		}
		if err == unix.EAGAIN {
			return s.fail("the third", "sent 16 bytes, and then silence for %v", limits.newcomer)
		}
		if err != nil {
			return os.NewSyscallError("read", err)
		}
		if a.bytes < pingSize {
			return s.fail("the third", "sent 16 bytes, and got %d, then EOF", a.bytes)
		}
		took += a.at.Sub(sent)
		for _, f := range hoses {
			first += f.between(sent, a.at)
		}
	}
	each := took / time.Duration(rounds)
	s.note("the third", "was answered %d times, on average after %v, in which the others got %d KiB",
		rounds, each.Round(10*time.Microsecond), first/rounds>>10)
	s.note("want", "at most %d KiB, and %v", limits.unfair>>10, limits.prompt)
	if first/rounds > limits.unfair || each > limits.prompt {
		return errFailed
	}
	s.usually = "while one client keeps it busy, the server does not accept(2) another: see ONE_AT_A_TIME"
	return s.serveAnother("meanwhile")
}

// awaitFullQueues waits until nothing more fits into the receive queues of a
// server that is stopped.
func (s *session) awaitFullQueues(hoses []*firehose) {
	last := -1
	for range 20 {
		sum := 0
		for _, f := range hoses {
			end, _, _ := connection(s.server.addr, f.local)
			sum += end.RxQueue
		}
		if sum == last {
			return
		}
		last = sum
		time.Sleep(5 * time.Millisecond)
	}
}

func acceptLost(s *session) error {
	if s.start != nil {
		if err := s.acceptQueued(); err != nil {
			return err
		}
	}
	var wg group
	errs := make(chan error, limits.burst)
	deadline := time.Now().Add(limits.burstTime)
	for range limits.burst {
		wg.Go(func() {
			c, err := s.dialUntil(0, deadline)
			if err == nil {
				err = c.ping(time.Until(deadline))
			}
			errs <- err
		})
	}
	wg.Wait()
	close(errs)
	lost := 0
	var why error
	for err := range errs {
		var could *cannotRun
		if errors.As(err, &could) {
			return err
		}
		if err != nil {
			lost, why = lost+1, err
		}
	}
	s.note("clients", "%d connected at once and sent 16 bytes each", limits.burst)
	if lost > limits.burst/2 && why == errSilence && s.server.doing() != "running" {
		s.usually = "clients that stay connected keep others from being served: see ONE_AT_A_TIME"
	}
	if lost > 0 {
		return s.fail("got back", "%d of them got no answer within %v: %v", lost, limits.burstTime, silent(why, limits.burstTime))
	}
	return nil
}

// acceptQueued has clients connect while the server is stopped, as many as its
// accept queue has room for: whatever the machine is busy with, they make one
// edge, and wait together.
func (s *session) acceptQueued() error {
	room := 0
	listeners, _ := procfs.Listeners() // a sandbox may forbid it
	for _, l := range listeners {
		if covers(l.Local, s.server.addr) {
			room = l.Backlog
		}
	}
	var waiting []*client
	err := s.pause(func() error {
		for range min(room, limits.queued) {
			c, err := s.dial(0)
			if err != nil {
				return err
			}
			waiting = append(waiting, c)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, c := range waiting {
		c.send(pingSize, limits.first)
	}
	for i, c := range waiting {
		err := c.receive(c.sent, limits.first, nil)
		if err == nil {
			continue
		}
		if _, dead := s.server.dies(); dead {
			return &skip{"the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL"}
		}
		s.usually = "there is a limit to how many clients are accepted for each edge: the others wait for the next one"
		if i <= 1 {
			s.usually = "one accept(2) for each edge; or clients that stay connected keep others from being served: see ONE_AT_A_TIME"
		}
		s.note("clients", "%d connected while the server was stopped, and then sent 16 bytes each", len(waiting))
		return s.fail("got back", "%d answers; the next client: %v", i, silent(err, limits.first))
	}
	s.resetAll()
	return nil
}

func diedOnSignal(s *session) error {
	old, err := s.dial(0)
	if err != nil {
		return err
	}
	for range 3 {
		if err := old.ping(limits.reply); err != nil {
			return err
		}
		s.awaitSleep()
		if err := s.pause(func() error { return nil }); err != nil {
			return err
		}
	}
	s.note("signals", "SIGSTOP and SIGCONT three times, SIGWINCH ten times")
	for range 10 {
		s.awaitSleep()
		if err := s.server.signal(unix.SIGWINCH); err != nil {
			return err
		}
		if err := old.ping(limits.newcomer); err != nil {
			return s.fail("an old", "client afterwards: %v", silent(err, limits.newcomer))
		}
	}
	old.Close()
	return s.serveAnother("afterwards")
}

// pause stops the server while f runs.
func (s *session) pause(f func() error) error {
	if err := s.server.signal(unix.SIGSTOP); err != nil {
		return err
	}
	stopped := s.awaitThreads("Tt", limits.reply)
	failed := f()
	if err := s.server.signal(unix.SIGCONT); err != nil {
		return err
	}
	if !stopped {
		return &cannotRun{"the server did not stop on SIGSTOP"}
	}
	s.awaitThreads("SDIRZX", limits.reply)
	return failed
}

// awaitThreads waits until each thread of the server is in one of the states.
func (s *session) awaitThreads(states string, d time.Duration) bool {
	for deadline := time.Now().Add(d); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if s.threadsAre(states) {
			return true
		}
	}
	return false
}

func (s *session) threadsAre(states string) bool {
	return !slices.ContainsFunc(s.server.all(), func(pid int) bool {
		threads, _ := procfs.ThreadStates(pid)
		for _, state := range threads {
			if !strings.ContainsRune(states, rune(state)) {
				return true
			}
		}
		return false
	})
}

// awaitSleep waits until the server sleeps, so that a signal meets it there. A
// server that never does is signalled all the same.
func (s *session) awaitSleep() { s.awaitThreads(sleeping, limits.stalled) }

const sleeping = "SDI" // states of threads: proc(5), /proc/pid/stat

// asleep tells whether the server sleeps, as far as we may see it.
func (s *session) asleep() bool {
	return len(s.server.processes()) > 0 && s.threadsAre(sleeping)
}

func fdLeak(s *session) error {
	visit := func() error {
		c, err := s.dial(0)
		if err != nil {
			return err
		}
		defer s.forget(c)
		return c.ping(limits.reply)
	}
	leave := func() error { // with unread data
		c, err := s.dial(0)
		if err != nil {
			return err
		}
		defer s.forget(c)
		return c.send(32<<10, limits.reply)
	}
	// Some servers keep a few descriptors for the next client, such as the
	// pipes of splice(2). The first clients make them open those.
	const warm = 50
	for range warm {
		if err := errors.Join(visit(), leave()); err != nil {
			return err
		}
	}
	_, idle := s.share(300 * time.Millisecond)
	before := s.server.descriptors()
	for i := range limits.churn {
		if err := visit(); err != nil {
			return s.fail("clients", "%d came and went, then: %v", i, silent(err, limits.reply))
		}
	}
	grown := func() (int, error) {
		before := s.server.descriptors()
		for i := range limits.unread {
			if err := errors.Join(visit(), leave()); err != nil {
				return 0, s.fail("clients", "%d more came, and went with unread data, then: %v", i, err)
			}
		}
		if err := s.stallAndReset(limits.stalling); err != nil {
			return 0, err
		}
		s.stallAndEnd(limits.leak + 1)
		after := s.server.descriptors()
		for deadline := time.Now().Add(limits.silence); after > before+limits.leak && time.Now().Before(deadline); {
			time.Sleep(10 * time.Millisecond)
			after = s.server.descriptors()
		}
		return after - before, nil
	}
	more, err := grown()
	if err != nil {
		return err
	}
	after := s.server.descriptors()
	if after > before+limits.leak {
		// A leak goes on growing. What is kept for the next client does not.
		if more, err = grown(); err != nil {
			return err
		}
	}
	s.note("clients", "%d came and went, %d more went with unread data, %d by a RST while they were owed something, %d by shutdown(SHUT_WR)",
		limits.churn, limits.unread, limits.stalling, limits.leak+1)
	s.note("open", "%d descriptors before, %d after", before, after)
	if how, dead := s.server.died(); dead {
		return s.fail("server", "died: %s", how)
	}
	if after > before+limits.leak && more > limits.leak {
		return errFailed
	}
	if _, spin := s.share(500 * time.Millisecond); idle < limits.spinCPU && spin >= limits.spinCPU {
		return s.fail("CPU", "wanted %.0f %% of the time, with no client at all", spin*100)
	}
	return nil
}

// stallAndReset connects n clients that read nothing, until the server can write
// nothing more to them, and then resets them: the next write(2) fails. Half of
// them have called shutdown(SHUT_WR) before.
func (s *session) stallAndReset(n int) error {
	stalled, errs := make([]*client, n), make([]error, n)
	var wg group
	for i := range n {
		wg.Go(func() {
			if stalled[i], errs[i] = s.dial(limits.tiny); errs[i] == nil {
				_, errs[i] = stalled[i].stall(limits.message)
			}
		})
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err == nil {
		for _, c := range stalled[:n/2] {
			c.CloseWrite()
		}
		s.awaitAllRead(stalled[:n/2], limits.stalled) // if it reads ahead
	}
	for _, c := range stalled {
		if c != nil {
			c.reset()
			s.forget(c)
		}
	}
	if err != nil {
		return s.fail("clients", "were to send until the server takes no more: %v", err)
	}
	return nil
}

// stallAndEnd connects n clients that read nothing until the server can write
// nothing more to them, end what they send, and then take what they are owed,
// and the end. That they get it is other checks' matter.
func (s *session) stallAndEnd(n int) {
	var wg group
	for range n {
		wg.Go(func() {
			c, err := s.dial(limits.tiny)
			if err != nil {
				return
			}
			defer s.forget(c)
			c.stall(limits.message)
			c.CloseWrite()
			c.drain(math.MaxInt, func([]byte) {}) // to the end
		})
	}
	wg.Wait()
}

func crossedWires(s *session) error {
	if err := s.stallTogether(); err != nil {
		return err
	}
	const rounds, leavers = 3, 4
	for range rounds {
		var going []*client
		var wg group
		for range leavers {
			c, err := s.dial(limits.tiny)
			if err != nil {
				return err
			}
			going = append(going, c)
			wg.Go(func() { c.stall(limits.message) }) // until the server is stuck with it
		}
		wg.Wait()
		for i, c := range going {
			if i%2 == 0 {
				c.SetLinger(0)
			}
			c.Close()
		}
		// Each of the new ones is likely to get a number that was just freed.
		for range 2 * leavers {
			c, err := s.dial(0)
			if err != nil {
				return err
			}
			before := c.got
			if err := c.ping(limits.newcomer); err != nil {
				s.note("sent", "16 bytes from a new client, just after others had gone with data under way")
				return s.fail("got back", "%v", c.outcome(before, pingSize, err))
			}
			c.CloseWrite()
			if err := c.eof(limits.stalled); err != nil && err != errSilence {
				s.note("sent", "16 bytes from a new client, just after others had gone with data under way")
				return s.fail("got back", "the 16 bytes, and then: %v", err)
			}
			c.reset()
		}
	}
	// And one after the other. The RST wakes the server; when it sleeps again, it
	// has done with the last one.
	for range 2 * leavers {
		c, err := s.dial(0)
		if err == nil {
			err = c.ping(limits.newcomer)
		}
		if err != nil {
			s.note("sent", "16 bytes from a new client, after another one had sent a RST and the server slept again")
			return s.fail("got back", "%v", c.outcome(0, pingSize, silent(err, limits.newcomer)))
		}
		c.reset()
		s.awaitSleep()
	}
	s.note("clients", "%d went with data under way, %d with a RST; the new ones after them got their own bytes only", rounds*leavers, 2*leavers)
	return nil
}

// stallTogether has two clients that do not read for a while, both at the same
// time, and looks whether what is kept for the one gets to the other. That they
// get all of it is other checks' matter.
func (s *session) stallTogether() error {
	const letters = "AB"
	var two []*client
	for i := range letters {
		c, err := s.dial(limits.tiny)
		if err != nil {
			return err
		}
		c.stallWith(letters[i], limits.message)
		two = append(two, c)
	}
	for i, c := range two {
		got, foreign := 0, 0
		c.drain(c.sent, func(p []byte) {
			got, foreign = got+len(p), foreign+len(p)-bytes.Count(p, []byte{letters[i]})
		})
		if foreign > 0 {
			s.note("sent", "%q without end from one client, %q from another; when neither was taken, both read", letters[:1], letters[1:])
			s.usually = "what is pending is kept in one place for all clients"
			return s.fail("got back", "%d bytes for the %s client, and %d of them were not its own", got, ordinal(i+1), foreign)
		}
		c.reset() // and the next one is served, if it is one at a time
	}
	return nil
}

func ignoresSIGTERM(s *session) error {
	for range 10 {
		if _, err := s.dial(0); err != nil {
			return err
		}
	}
	if err := s.clients[0].ping(limits.reply); err != nil {
		return err
	}
	begin := time.Now()
	if err := s.server.signal(unix.SIGTERM); err != nil {
		return err
	}
	for {
		if _, dead := s.server.died(); dead {
			s.note("SIGTERM", "with 10 clients connected: gone after %v", time.Since(begin).Round(time.Millisecond))
			return nil
		}
		if time.Since(begin) > limits.term {
			if _, parent := s.server.members(); parent != 0 && !alive(parent) {
				s.usually = "the process that was asked has ended, and others live on with its listening socket: they are its to end"
			}
			return s.fail("SIGTERM", "with 10 clients connected: still there after %v", limits.term)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func portStuck(s *session) error {
	c, err := s.served()
	if err != nil {
		return err
	}
	old := s.server
	old.stop()
	// The kernel closes the dead server's end: at once, or a little later if it
	// was io_uring(7) that had it open. Now the client closes its own, and the
	// other is left in TIME_WAIT, which is what bind(2) may not mind.
	c.eof(limits.silence)
	for deadline := time.Now().Add(limits.silence); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if left, err := listeners(old.addr); err != nil || len(left) == 0 {
			break
		}
	}
	c.Close()
	left := ""
	for deadline := time.Now().Add(limits.reply); left == "" && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		end, _, err := c.serverEnd()
		if err != nil {
			return err
		}
		if end.State == procfs.TCPTimeWait {
			left = end.State.String()
		}
	}
	if left == "" {
		return &cannotRun{"the killed server's connection did not stay in TIME_WAIT"}
	}
	s.note("killed", "with a client attached; its end of the connection stays in %s", left)
	again, err := s.start(hardNOFILE())
	if err != nil {
		var start *startError
		if errors.As(err, &start) {
			s.note("started", "again on %s: %s", old.addr, start.reason)
			if start.output != "" {
				s.note("it said", "%s", start.output)
			}
			return errFailed
		}
		return err
	}
	s.server = again
	if c, err = s.dial(0); err == nil {
		err = c.ping(limits.reply)
	}
	return err
}

func edgeLost(s *session) error {
	c, err := s.dial(0)
	if err != nil {
		return err
	}
	// The receive queue grows with use: tcp(7), tcp_rmem. Let it.
	for range 16 {
		before := c.got
		if err := c.echo(limits.edge, limits.silence); err != nil {
			s.note("sent", "%d bytes, and nothing after them", limits.edge)
			return s.fail("got back", "%v", c.outcome(before, limits.edge, err))
		}
	}
	for range 4 {
		if err := s.oneEdge(c, limits.edge); err != nil {
			return err
		}
	}
	s.note("sent", "4 times %d bytes in one edge, and nothing after them: all came back", limits.edge)
	if s.start == nil {
		return nil
	}
	// And as much as one edge can be, for a loop that has a limit of its own.
	s.forget(c) // the server may serve one client at a time
	most := 0
	for range 2 {
		c, err := s.roomy()
		if err != nil {
			return err
		}
		n := max(limits.edge, min(c.window(), limits.message))
		if err := s.oneEdge(c, n); err != nil {
			return err
		}
		s.forget(c)
		most = max(most, n)
	}
	s.note("then", "on 2 more connections, up to %d bytes in one edge", most)
	return nil
}

// roomy connects a client for which the server's kernel has much room: a connection
// that begins with a flood gets the most. See [client.window].
func (s *session) roomy() (*client, error) {
	c, err := s.served()
	if err != nil {
		return nil, err
	}
	if err := s.pause(func() error { _, err := c.offer(limits.flood); return err }); err != nil {
		return nil, err
	}
	facts := s.facts
	if err := s.transfer(c, limits.message, nil); err != nil {
		return nil, err
	}
	s.facts = facts
	return c, nil
}

// oneEdge sends n bytes, which make one edge if we can stop the server, and wants
// them back.
func (s *session) oneEdge(c *client, n int) error {
	before := c.got
	send := func() error { return c.send(n, limits.reply) }
	how, err := "in one piece", error(nil)
	if s.start == nil {
		err = send()
	} else {
		how = "while the server was stopped"
		s.awaitSleep()
		err = s.pause(func() error {
			if err := send(); err != nil {
				return err
			}
			s.awaitArrival(limits.stalled, c) // what is still under way would be an edge of its own
			return nil
		})
	}
	if err == nil {
		err = c.receive(n, limits.silence, nil)
	}
	if err == nil {
		return nil
	}
	if s.start != nil {
		if _, dead := s.server.dies(); dead {
			return &skip{"the server does not survive SIGSTOP and SIGCONT: see DIED_ON_SIGNAL"}
		}
	}
	s.note("sent", "%d bytes %s, and nothing after them", n, how)
	return s.fail("got back", "%v", c.outcome(before, n, err))
}
