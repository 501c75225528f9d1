// Package beyond has what chapter 07 runs: the configuration of HAProxy, and
// small programs. This is the test of the configuration, with a real HAProxy
// and real servers.
package beyond

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	limit    = 30 * time.Second // for whatever is waited for
	clients  = 12               // that stay: four for each server
	newcomer = 30               // clients that come, say one thing and leave
	turns    = 50               // answers of each client after the last blow
)

// losses are how a client may learn that its connection is gone.
var losses = []error{io.EOF, io.ErrUnexpectedEOF, unix.ECONNRESET, unix.EPIPE}

// servers are as haproxy.cfg has them: the address is always the same port.
var servers = []struct{ name, host string }{{"one", "127.0.0.2"}, {"two", "127.0.0.3"}, {"three", "127.0.0.4"}}

// Three servers behind HAProxy, each with clients that talk all the time. One
// server is drained, one is killed. The clients of the killed one are lost, and
// nobody else; who comes now is served.
func TestDrainedAndKilled(t *testing.T) {
	haproxy := findHAProxy(t)
	step4 := build(t)
	port := freePort(t)
	processes := make(map[string]*exec.Cmd)
	for _, s := range servers {
		processes[s.name] = startStep(t, step4, s.host+":"+port)
	}
	p := startHAProxy(t, haproxy, port)
	for _, s := range servers {
		p.await(s.name, "to be UP", func(r row) bool { return r["status"] == "UP" && r["check_status"] == "L4OK" })
	}

	of := make(map[string][]*client) // by server
	for range clients {
		c := p.client()
		of[p.serverOf(c)] = append(of[p.serverOf(c)], c)
	}
	for _, s := range servers {
		if n := len(of[s.name]); n != clients/len(servers) {
			t.Fatalf("%s has %d clients, want %d", s.name, n, clients/len(servers))
		}
	}

	p.command("set server echo/two state drain")
	p.await("two", "to be drained", func(r row) bool { return r["status"] == "DRAIN" })
	before := p.row("two")["stot"]
	p.newcomers("while two is drained")

	killed := processes["three"]
	killed.Process.Kill() // SIGKILL
	killed.Wait()         // now its descriptors are closed, and nobody listens
	p.newcomers("when three has just been killed")
	p.await("three", "to be DOWN", func(r row) bool { return r["status"] == "DOWN" })
	p.newcomers("when three is down")

	for _, c := range of["three"] {
		if err := c.lost(); !slices.ContainsFunc(losses, func(l error) bool { return errors.Is(err, l) }) {
			t.Errorf("a client of the killed server: got %v, want the end of the stream or a reset", err)
		}
	}
	for _, c := range append(of["one"], of["two"]...) {
		if err := c.more(turns); err != nil {
			t.Errorf("a client of another server: %v", err)
		}
	}
	if after := p.row("two")["stot"]; after != before {
		t.Errorf("two is drained, and has had %s clients; before it was %s", after, before)
	}

	// The drained one's clients leave when they like; then it may be stopped.
	for _, c := range of["two"] {
		c.leave()
	}
	p.await("two", "to be empty", func(r row) bool { return r["scur"] == "0" })
	processes["two"].Process.Kill()
	processes["two"].Wait()
	p.newcomers("with one server of three")
	for _, c := range of["one"] {
		if err := c.more(turns); err != nil {
			t.Errorf("a client of the last server: %v", err)
		}
	}

	// And both come back.
	startStep(t, step4, "127.0.0.3:"+port)
	startStep(t, step4, "127.0.0.4:"+port)
	p.command("set server echo/two state ready")
	for _, name := range []string{"two", "three"} {
		p.await(name, "to be back", func(r row) bool { return r["status"] == "UP" })
		had := p.row(name)["stot"]
		p.newcomers("when all are back")
		if p.row(name)["stot"] == had {
			t.Errorf("%s is back, and none of %d new clients got there", name, newcomer)
		}
	}
}

// Debian has it in a folder where only root's shell looks.
func findHAProxy(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"haproxy", "/usr/sbin/haproxy"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skip("haproxy is not installed: make setup")
	return ""
}

func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "step4-epoll-et")
	if out, err := exec.Command("go", "build", "-o", bin, "../step4-epoll-et").CombinedOutput(); err != nil {
		t.Fatalf("build error: %v\n%s", err, out)
	}
	return bin
}

// freePort returns a port that nobody has at any of the four addresses.
func freePort(t *testing.T) string {
	t.Helper()
next:
	for range 100 {
		first, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		_, port, _ := net.SplitHostPort(first.Addr().String())
		for _, s := range servers {
			l, err := net.Listen("tcp4", s.host+":"+port)
			if err != nil {
				continue next
			}
			defer l.Close()
		}
		return port
	}
	t.Fatal("no port is free")
	return ""
}

// start starts a command that ends with the test.
func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
}

func startStep(t *testing.T, step4, addr string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(step4, "-addr", addr)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log // a file: nobody has to read it for the server to go on
	start(t, cmd)
	await(t, "step 4 to listen on "+addr, func() bool {
		text, _ := os.ReadFile(log.Name())
		return bytes.Contains(text, []byte("listening on "+addr+"\n"))
	})
	return cmd
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", limit, what)
		}
	}
}

// A proxy is a HAProxy that runs.
type proxy struct {
	t            *testing.T
	addr, socket string
}

func startHAProxy(t *testing.T, haproxy, port string) *proxy {
	t.Helper()
	config, err := filepath.Abs("haproxy.cfg")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "beyond") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var log bytes.Buffer
	cmd := exec.Command(haproxy, "-f", config)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PORT="+port)
	cmd.Stdout, cmd.Stderr = &log, &log
	t.Cleanup(func() { // after the one of start: it has ended
		if t.Failed() {
			t.Logf("HAProxy said:\n%s", log.Bytes())
		}
	})
	start(t, cmd)
	p := &proxy{t, "127.0.0.1:" + port, filepath.Join(dir, "haproxy.sock")}
	await(t, "HAProxy's runtime API", func() bool {
		c, err := net.Dial("unix", p.socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return p
}

// command says something to the runtime API, and returns what it answers.
func (p *proxy) command(line string) string {
	p.t.Helper()
	c, err := net.DialTimeout("unix", p.socket, limit)
	if err != nil {
		p.t.Fatalf("HAProxy's runtime API: %v", err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(limit))
	fmt.Fprintln(c, line)
	answer, err := io.ReadAll(c)
	if err != nil {
		p.t.Fatalf("%s: %v", line, err)
	}
	if answer := string(bytes.TrimSpace(answer)); strings.HasPrefix(line, "set ") && answer != "" {
		p.t.Fatalf("%s: %s", line, answer)
	}
	return string(answer)
}

// A row is one of "show stat", by the name of the column.
type row map[string]string

func (p *proxy) row(server string) row {
	p.t.Helper()
	rows, err := csv.NewReader(strings.NewReader(strings.TrimPrefix(p.command("show stat"), "# "))).ReadAll()
	if err != nil || len(rows) == 0 {
		p.t.Fatalf("show stat: %d rows, %v", len(rows), err)
	}
	for _, r := range rows[1:] {
		if r[0] == "echo" && r[1] == server {
			named := make(row)
			for i, column := range rows[0] {
				named[column] = r[i]
			}
			return named
		}
	}
	p.t.Fatalf("show stat has no %s", server)
	return nil
}

func (p *proxy) await(server, what string, is func(row) bool) {
	p.t.Helper()
	await(p.t, server+" "+what, func() bool { return is(p.row(server)) })
}

var session = regexp.MustCompile(`src=(\S+) fe=echo be=echo srv=(\S+)`)

// serverOf asks HAProxy where it has sent a client.
func (p *proxy) serverOf(c *client) string {
	p.t.Helper()
	sessions := session.FindAllStringSubmatch(p.command("show sess"), -1)
	i := slices.IndexFunc(sessions, func(s []string) bool { return s[1] == c.conn.LocalAddr().String() })
	if i < 0 {
		p.t.Fatalf("HAProxy does not know its client %v", c.conn.LocalAddr())
	}
	return sessions[i][2]
}

// newcomers are clients that come one after the other, say something, hear it,
// and leave.
func (p *proxy) newcomers(when string) {
	p.t.Helper()
	for i := range newcomer {
		if err := p.newcomer(i); err != nil {
			p.t.Errorf("%s: new client %d: %v", when, i, err)
		}
	}
}

func (p *proxy) newcomer(i int) error {
	c, err := net.DialTimeout("tcp4", p.addr, limit)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(limit))
	return echo(c, bufio.NewReader(c), i)
}

// echo sends a text that tells the i-th from all others, and wants it back.
func echo(c io.Writer, r io.Reader, i int) error {
	text := bytes.Repeat(fmt.Appendf(nil, "%d.", i), 1+i%1000)
	if _, err := c.Write(text); err != nil {
		return err
	}
	got := make([]byte, len(text))
	if n, err := io.ReadFull(r, got); err != nil {
		return fmt.Errorf("after %d of %d bytes of text %d: %w", n, len(text), i, err)
	}
	if !bytes.Equal(got, text) {
		return fmt.Errorf("text %d came back different", i)
	}
	return nil
}

// A client talks without a pause until it is lost or told to leave.
type client struct {
	conn    net.Conn
	answers atomic.Int64
	leaving atomic.Bool
	ended   context.Context // its cause says why
}

func (p *proxy) client() *client {
	p.t.Helper()
	conn, err := net.DialTimeout("tcp4", p.addr, limit)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(4 * limit))
	c := &client{conn: conn}
	ended, end := context.WithCancelCause(context.Background())
	c.ended = ended
	go func() {
		for r, i := bufio.NewReader(conn), 0; !c.leaving.Load(); i++ {
			if err := echo(conn, r, i); err != nil {
				conn.Close()
				end(err)
				return
			}
			c.answers.Add(1)
		}
		conn.Close()
		end(nil)
	}()
	if err := c.more(1); err != nil { // it has a server now
		p.t.Fatal(err)
	}
	return c
}

// more waits until the client has had n more answers.
func (c *client) more(n int64) error {
	deadline := time.Now().Add(limit)
	for want := c.answers.Load() + n; c.answers.Load() < want; time.Sleep(time.Millisecond) {
		if c.ended.Err() != nil {
			return context.Cause(c.ended)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d answers within %v, want %d", n-want+c.answers.Load(), limit, n)
		}
	}
	return nil
}

// lost waits until the client has lost its connection, and says how.
func (c *client) lost() error {
	select {
	case <-c.ended.Done():
		return context.Cause(c.ended)
	case <-time.After(limit):
		return errors.New("it goes on")
	}
}

// leave ends the client after the answer it waits for.
func (c *client) leave() {
	c.leaving.Store(true)
	<-c.ended.Done()
}
