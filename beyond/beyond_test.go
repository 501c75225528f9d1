// Package beyond contains what chapter 07 runs, a configuration of HAProxy and small
// programs, and a program of docs/questions.md. This file tests the configuration
// with HAProxy itself and three servers.
package beyond

import (
	"bufio"
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	patience   = 2 * time.Minute // limits every wait; only a hang reaches it
	clients    = 12              // that stay connected: four for each server
	newClients = 30              // that connect, send one text and leave
	answers    = 50              // that a client gets after a server was killed
)

// losses are the errors with which a client may lose its connection.
var losses = []error{io.EOF, io.ErrUnexpectedEOF, unix.ECONNRESET, unix.EPIPE}

// servers are those of haproxy.cfg. All use the same port.
var servers = []struct{ name, host string }{{"one", "127.0.0.2"}, {"two", "127.0.0.3"}, {"three", "127.0.0.4"}}

// Three servers run behind HAProxy, each with clients that talk all the time.
// One server is drained, another one is killed. Only the clients of the killed
// server lose their connections, and every new client is served.
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

	clientsOf := make(map[string][]*client) // by server
	for range clients {
		c := p.client()
		server := p.serverOf(c)
		clientsOf[server] = append(clientsOf[server], c)
	}
	for _, s := range servers {
		if n := len(clientsOf[s.name]); n != clients/len(servers) {
			t.Fatalf("%s has %d clients, want %d", s.name, n, clients/len(servers))
		}
	}

	p.command("set server echo/two state drain")
	p.await("two", "to be drained", func(r row) bool { return r["status"] == "DRAIN" })
	before := p.row("two")["stot"]
	p.newClients("while two is drained")

	killed := processes["three"]
	killed.Process.Kill() // SIGKILL
	killed.Wait()         // now its descriptors are closed
	p.newClients("when three has just been killed")
	p.await("three", "to be DOWN", func(r row) bool { return r["status"] == "DOWN" })
	p.newClients("when three is down")

	for _, c := range clientsOf["three"] {
		if err := c.lost(); !slices.ContainsFunc(losses, func(l error) bool { return errors.Is(err, l) }) {
			t.Errorf("a client of the killed server: got %v, want the end of the stream or a reset", err)
		}
	}
	for _, c := range append(clientsOf["one"], clientsOf["two"]...) {
		if err := c.awaitAnswers(answers); err != nil {
			t.Errorf("a client of another server: %v", err)
		}
	}
	if after := p.row("two")["stot"]; after != before {
		t.Errorf("two is drained, but has had %s clients, want %s as before", after, before)
	}

	// When the clients of the drained server have left, it can be stopped.
	for _, c := range clientsOf["two"] {
		c.leave()
	}
	p.await("two", "to be empty", func(r row) bool { return r["scur"] == "0" })
	processes["two"].Process.Kill()
	processes["two"].Wait()
	p.newClients("with one server of three")
	for _, c := range clientsOf["one"] {
		if err := c.awaitAnswers(answers); err != nil {
			t.Errorf("a client of the last server: %v", err)
		}
	}

	// Both servers return.
	startStep(t, step4, "127.0.0.3:"+port)
	startStep(t, step4, "127.0.0.4:"+port)
	p.command("set server echo/two state ready")
	for _, name := range []string{"two", "three"} {
		p.await(name, "to be back", func(r row) bool { return r["status"] == "UP" })
		before := p.row(name)["stot"]
		p.newClients("when all are back")
		if p.row(name)["stot"] == before {
			t.Errorf("%s is back, but got none of %d new clients", name, newClients)
		}
	}
}

// findHAProxy also looks in /usr/sbin, which is not in every user's PATH.
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

// freePort returns a port that is free at all four addresses. It is below the
// ports that the kernel gives to clients: ip(7), ip_local_port_range. So no
// other process gets it by chance while a server is restarted.
func freePort(t *testing.T) string {
	t.Helper()
	hosts := []string{"127.0.0.1"}
	for _, s := range servers {
		hosts = append(hosts, s.host)
	}
	free := func(port string) bool {
		for _, host := range hosts {
			l, err := net.Listen("tcp4", host+":"+port)
			if err != nil {
				return false
			}
			defer l.Close()
		}
		return true
	}
	for range 100 {
		if port := strconv.Itoa(10_000 + rand.IntN(20_000)); free(port) {
			return port
		}
	}
	t.Fatal("no port is free")
	return ""
}

// start starts a command, and ends it with the test.
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
	cmd.Stderr = log // a file, because a pipe that is not read would block the server
	start(t, cmd)
	await(t, "step 4 to listen on "+addr, func() bool {
		text, _ := os.ReadFile(log.Name())
		return bytes.Contains(text, []byte("listening on "+addr+"\n"))
	})
	return cmd
}

// await waits until a condition is true.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v for %s", patience, what)
		}
	}
}

// A proxy is a running HAProxy.
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
	dir, err := os.MkdirTemp("", "beyond") // the path of t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	var log bytes.Buffer
	cmd := exec.Command(haproxy, "-f", config)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PORT="+port)
	cmd.Stdout, cmd.Stderr = &log, &log
	t.Cleanup(func() { // runs after the cleanup of start: HAProxy has ended
		if t.Failed() {
			t.Logf("HAProxy's log:\n%s", log.Bytes())
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

// command sends a line to the runtime API, and returns the answer.
func (p *proxy) command(line string) string {
	p.t.Helper()
	c, err := net.DialTimeout("unix", p.socket, patience)
	if err != nil {
		p.t.Fatalf("HAProxy's runtime API: %v", err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
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

// A row is a row of "show stat", by column name.
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

func (p *proxy) await(server, what string, condition func(row) bool) {
	p.t.Helper()
	await(p.t, server+" "+what, func() bool { return condition(p.row(server)) })
}

var session = regexp.MustCompile(`src=(\S+) fe=echo be=echo srv=(\S+)`)

// serverOf returns the server to which HAProxy has connected a client.
func (p *proxy) serverOf(c *client) string {
	p.t.Helper()
	sessions := session.FindAllStringSubmatch(p.command("show sess"), -1)
	i := slices.IndexFunc(sessions, func(s []string) bool { return s[1] == c.conn.LocalAddr().String() })
	if i < 0 {
		p.t.Fatalf("HAProxy does not know its client %v", c.conn.LocalAddr())
	}
	return sessions[i][2]
}

// newClients connects clients one after the other. Each has a text echoed and
// leaves.
func (p *proxy) newClients(when string) {
	p.t.Helper()
	for i := range newClients {
		if err := p.newClient(i); err != nil {
			p.t.Errorf("%s: new client %d: %v", when, i, err)
		}
	}
}

func (p *proxy) newClient(i int) error {
	c, err := net.DialTimeout("tcp4", p.addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	return echo(c, bufio.NewReader(c), i)
}

// echo sends a text that is different for each i, and expects it back.
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

// A client has texts echoed without a pause until it loses its connection or
// leaves.
type client struct {
	conn    net.Conn
	answers atomic.Int64
	leaving atomic.Bool
	ended   context.Context // its cause is the reason
}

func (p *proxy) client() *client {
	p.t.Helper()
	conn, err := net.DialTimeout("tcp4", p.addr, patience)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() })
	c := &client{conn: conn}
	ended, end := context.WithCancelCause(context.Background())
	c.ended = ended
	go func() {
		for r, i := bufio.NewReader(conn), 0; !c.leaving.Load(); i++ {
			conn.SetDeadline(time.Now().Add(patience))
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
	if err := c.awaitAnswers(1); err != nil { // HAProxy has chosen a server now
		p.t.Fatal(err)
	}
	return c
}

// awaitAnswers waits until the client has got n more answers.
func (c *client) awaitAnswers(n int64) error {
	deadline := time.Now().Add(patience)
	for want := c.answers.Load() + n; c.answers.Load() < want; time.Sleep(time.Millisecond) {
		if c.ended.Err() != nil {
			return context.Cause(c.ended)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d answers within %v, want %d", n-want+c.answers.Load(), patience, n)
		}
	}
	return nil
}

// lost waits until the client has lost its connection, and returns the error.
func (c *client) lost() error {
	select {
	case <-c.ended.Done():
		return context.Cause(c.ended)
	case <-time.After(patience):
		return errors.New("it is still served")
	}
}

// leave ends the client after the answer that it is waiting for.
func (c *client) leave() {
	c.leaving.Store(true)
	<-c.ended.Done()
}
