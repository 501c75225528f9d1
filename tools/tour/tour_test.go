package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"epoll-step-by-step/internal/procfs"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

func TestMain(m *testing.M) {
	os.Chdir("../..") // the documents are there
	os.Exit(m.Run())
}

// open starts a tour and returns its guard.
func open(t *testing.T) *guard {
	t.Helper()
	tour := newTour(t.Context())
	t.Cleanup(tour.close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := newGuard(l.Addr().String(), tour.handler())
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: g}}
	server.Start()
	t.Cleanup(server.Close)
	return g
}

// Each row is a request that another program, another user or another site's page could
// make.
func TestGuard(t *testing.T) {
	g := open(t)
	own := "http://" + g.host
	cookie := g.cookie() + "=" + g.token
	for _, row := range []struct {
		name, method, path string
		header             map[string]string
		host               string
		want               int
	}{
		{"no cookie", "GET", "/", nil, "", 403},
		{"a wrong cookie", "GET", "/", map[string]string{"Cookie": g.cookie() + "=x"}, "", 403},
		{"a wrong token", "GET", "/?token=x", nil, "", 403},
		{"the browser", "GET", "/", map[string]string{"Cookie": cookie}, "", 200},
		{"a script of our page", "POST", "/lab", map[string]string{"Cookie": cookie, "Origin": own}, "", 200},
		{"another site's page, which the browser let send the cookie", "POST", "/lab", map[string]string{"Cookie": cookie, "Origin": "http://evil.example"}, "", 403},
		{"another port's page", "POST", "/lab", map[string]string{"Cookie": cookie, "Origin": "http://127.0.0.1:1"}, "", 403},
		{"a page without an origin", "POST", "/lab", map[string]string{"Cookie": cookie, "Origin": "null"}, "", 403},
		{"a program without an origin", "POST", "/lab", map[string]string{"Cookie": cookie}, "", 403},
		{"a name that points here: DNS rebinding", "GET", "/", map[string]string{"Cookie": cookie}, "evil.example", 421},
		{"that name with our port", "POST", "/lab", map[string]string{"Cookie": cookie, "Origin": own}, "evil.example:" + strings.Split(g.host, ":")[1], 421},
		{"the token in a POST", "POST", "/lab?token=" + g.token, nil, "", 403},
		{"a file that is no document", "GET", "/go.mod", map[string]string{"Cookie": cookie}, "", 404},
		{"a file above the repository", "GET", "/docs/..%2f..%2fetc/passwd", map[string]string{"Cookie": cookie}, "", 404},
		{"a program that is not ours", "POST", "/walk/x", map[string]string{"Cookie": cookie, "Origin": own, "body": `{"do":"start","program":"/bin/sh"}`}, "", 422},
		{"a page that is no man page", "GET", "/man/--help.1", map[string]string{"Cookie": cookie}, "", 400},
	} {
		body := "[]"
		if row.header["body"] != "" {
			body = row.header["body"]
		}
		r, err := http.NewRequest(row.method, own+row.path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range row.header {
			if k != "body" {
				r.Header.Set(k, v)
			}
		}
		if row.host != "" {
			r.Host = row.host
		}
		answer, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		if answer.StatusCode != row.want {
			t.Errorf("%s: status %d, want %d: %s", row.name, answer.StatusCode, row.want, text)
		}
		if policy := answer.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
			t.Errorf("%s: Content-Security-Policy %q", row.name, policy)
		}
	}
}

// The first address sets a cookie that scripts and other sites cannot use.
func TestToken(t *testing.T) {
	g := open(t)
	jar, _ := cookiejar.New(nil)
	client := http.Client{Jar: jar}
	answer, err := client.Get(g.url())
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	set := answer.Header.Get("Set-Cookie")
	for _, want := range []string{"HttpOnly", "SameSite=Strict", "Path=/"} {
		if !strings.Contains(set, want) {
			t.Errorf("Set-Cookie: %q, want %s", set, want)
		}
	}
	answer, err = client.Get("http://" + g.host + "/")
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	if answer.StatusCode != 200 {
		t.Errorf("with the cookie: %s", answer.Status)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"-addr", "0.0.0.0:80"}, {"-addr", "192.0.2.1:80"}, {"-addr", "nonsense"}, {"more"}, {"-nonsense"}} {
		if got := run(args); got != 2 {
			t.Errorf("%q: exit %d, want 2", args, got)
		}
	}
}

// browse starts Chromium and logs in. It skips the test where there is none.
func browse(t *testing.T) (context.Context, *guard) {
	t.Helper()
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Skip("Chromium is not installed: apt-get install chromium")
	}
	g := open(t)
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.WindowSize(1440, 900))
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	t.Cleanup(cancel)
	chromedp.ListenTarget(ctx, func(event any) {
		switch e := event.(type) {
		case *runtime.EventExceptionThrown:
			t.Errorf("the page's script: %s", e.ExceptionDetails.Error())
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError {
				t.Errorf("the page's console: %s", e.Args[0].Value)
			}
		}
	})
	do(t, ctx, chromedp.Navigate(g.url()), chromedp.WaitVisible("#chapter h1"))
	return ctx, g
}

func do(t *testing.T, ctx context.Context, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// until waits until an expression of the page is true.
func until(t *testing.T, ctx context.Context, expression string) {
	t.Helper()
	if err := chromedp.Run(ctx, chromedp.Poll(expression, nil, chromedp.WithPollingTimeout(100*time.Second))); err != nil {
		var state string
		chromedp.Run(ctx, chromedp.Evaluate(`document.querySelector('#side').innerText`, &state))
		t.Fatalf("%s: %v\n%s", expression, err, state)
	}
}

func TestEveryPage(t *testing.T) {
	ctx, g := browse(t)
	for _, c := range chapters() {
		var heading string
		var broken int
		do(t, ctx, chromedp.Navigate("http://"+g.host+"/"+c.File), chromedp.WaitVisible("#chapter h1"),
			chromedp.Text("#chapter h1", &heading),
			chromedp.Evaluate(`[...document.images].filter(i => !i.complete || !i.naturalWidth).length`, &broken))
		if strings.TrimSpace(heading) != strings.ReplaceAll(c.Title, "`", "") {
			t.Errorf("%s: the heading is %q", c.File, heading)
		}
		if broken > 0 {
			t.Errorf("%s: %d pictures are missing", c.File, broken)
		}
	}
}

// The lab blocks and the walk of chapter 03, as a reader uses them.
func TestChapter(t *testing.T) {
	ctx, g := browse(t)
	do(t, ctx, chromedp.Navigate("http://"+g.host+"/docs/03-epoll-level-triggered.md"), chromedp.WaitVisible("#chapter h1"))

	do(t, ctx, chromedp.Evaluate(`document.querySelector('.replay.lab .bar button').click()`, nil))
	until(t, ctx, `document.querySelector('.replay.lab .bar [role=status]').textContent === 'as printed'`)

	do(t, ctx, chromedp.Evaluate(`(() => { const s = document.querySelector('.replay.lab'); s.querySelectorAll('.bar button')[1].click();
		s.querySelector('textarea').value = 'pair x y\nwrite x "mine"'; s.querySelector('.bar button').click(); })()`, nil))
	until(t, ctx, `document.querySelector('.replay.lab pre').textContent.includes('write(x, "mine", 4) = 4')`)
	do(t, ctx, chromedp.Evaluate(`document.querySelector('.replay.lab').querySelectorAll('.bar button')[2].click()`, nil))
	until(t, ctx, `!document.querySelector('.replay.lab pre').textContent.includes('mine')`)

	do(t, ctx, chromedp.Evaluate(`document.querySelector('.replay.walk .bar button').click()`, nil))
	until(t, ctx, `document.querySelector('.replay.walk .bar [role=status]').textContent === 'as printed'`)
	until(t, ctx, `document.querySelector('#walk-state').textContent.startsWith('step 1 of')`)
	var steps int
	do(t, ctx, chromedp.Evaluate(`walk.steps.length`, &steps))
	for range steps - 1 {
		do(t, ctx, chromedp.Evaluate(`document.querySelector('#keys .primary').click()`, nil))
	}
	until(t, ctx, fmt.Sprintf(`document.querySelector('#walk-state').textContent.startsWith('step %d of %[1]d') && document.querySelector('#source .at').textContent.includes('EpollWait')`, steps))

	// A walk by hand.
	key := func(text string) {
		do(t, ctx, chromedp.Evaluate(fmt.Sprintf(`[...document.querySelectorAll('#keys button')].find(b => b.textContent === %q).click()`, text), nil))
	}
	do(t, ctx, chromedp.Evaluate(`document.querySelector('#program').value = 'step3-epoll-lt'; document.querySelector('#start button').click()`, nil))
	until(t, ctx, `walk.live && walk.steps.length === 1`)
	key("to the next wait")
	until(t, ctx, `document.querySelector('#walk-state').textContent.includes('about to call epoll_')`)
	key("next")
	until(t, ctx, `document.querySelector('#walk-state').textContent.includes('asleep in epoll_')`)
	key("connect")
	until(t, ctx, `document.querySelector('#kernel').getAttribute('aria-label').includes('listener: interest IN, ready, 1 wait for accept')`)
	key("to the next wait")
	until(t, ctx, `document.querySelector('#walk-state').textContent.includes('about to call epoll_')`)
	key("a sends a line")
	until(t, ctx, `document.querySelector('#kernel').getAttribute('aria-label').includes('a: interest IN, ready, 13 bytes unread')`)
	key("to the next wait")
	until(t, ctx, `document.querySelector('#calls').textContent.includes('write(a, "hello from a')`)
	key("‹ back")
	until(t, ctx, `document.querySelector('#walk-state').textContent.startsWith('step ')`)

	do(t, ctx, chromedp.Evaluate(`[...document.querySelectorAll('a.man')].find(a => a.textContent === 'epoll_ctl(2)').click()`, nil))
	until(t, ctx, `document.querySelector('#man-text').textContent.includes('EPOLL_CTL_ADD') || document.querySelector('#man-text').textContent.includes('not installed')`)
}

// SCREENSHOTS=folder make test RUN=TestScreens writes pictures to look at.
func TestScreens(t *testing.T) {
	folder := os.Getenv("SCREENSHOTS")
	if folder == "" {
		t.Skip("for people: SCREENSHOTS=FOLDER")
	}
	ctx, g := browse(t)
	var picture []byte
	do(t, ctx, chromedp.Navigate("http://"+g.host+"/docs/01-blocking.md"), chromedp.WaitVisible("#chapter h1"),
		chromedp.Evaluate(`document.querySelectorAll('.replay.transcript .bar button')[1].click()`, nil))
	until(t, ctx, `document.querySelector('.replay.transcript [role=status]').textContent.startsWith('done')`)
	do(t, ctx, chromedp.Sleep(time.Second), chromedp.CaptureScreenshot(&picture))
	if err := os.WriteFile(filepath.Join(folder, "play.png"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, size := range []struct {
		width, height int64
	}{{1440, 900}, {1024, 768}, {390, 844}} {
		for _, scheme := range []string{"light", "dark"} {
			do(t, ctx, chromedp.EmulateViewport(size.width, size.height),
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
				chromedp.Navigate("http://"+g.host+"/docs/03-epoll-level-triggered.md"), chromedp.WaitVisible("#chapter h1"),
				chromedp.Evaluate(`document.querySelector('.replay.walk .bar button').click()`, nil))
			until(t, ctx, `document.querySelector('#walk-state').textContent.startsWith('step 1 of')`)
			do(t, ctx, chromedp.Evaluate(`walk.move(walk.steps.findIndex(s => s.did === 'a send hello')); document.querySelector('.replay.walk').scrollIntoView(); scrollBy(0, -80)`, nil),
				chromedp.Sleep(500*time.Millisecond), chromedp.CaptureScreenshot(&picture))
			name := fmt.Sprintf("%dx%d-%s.png", size.width, size.height, scheme)
			if err := os.WriteFile(filepath.Join(folder, name), picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What a reader types into a terminal reaches a shell, and a transcript plays.
func TestTerminals(t *testing.T) {
	ctx, g := browse(t)
	do(t, ctx, chromedp.Navigate("http://"+g.host+"/docs/01-blocking.md"), chromedp.WaitVisible("#chapter h1"),
		chromedp.Evaluate(`openPane('terminals'); terminals.all[0].pre.focus()`, nil),
		chromedp.KeyEvent("echo $((6*7))-ok\r"))
	until(t, ctx, `terminals.all[0].text.includes('42-ok')`)

	// The screen of a terminal that prints megabytes stays usable.
	do(t, ctx, chromedp.Evaluate(`terminals.type(2, 'yes | head -c 10M; echo end-$((1+1))\r')`, nil))
	until(t, ctx, `terminals.all[1].text.includes('end-2')`)

	var median float64 // of a key's way to the screen, in ms
	do(t, ctx, chromedp.Evaluate(`(async () => {
		const times = [];
		for (let i = 0; i < 15; i++) {
			const before = terminals.all[2].text, begin = performance.now();
			terminals.type(3, 'x');
			while (terminals.all[2].text === before) await new Promise(r => setTimeout(r, 1));
			if (i > 2) times.push(performance.now() - begin);
			await new Promise(r => setTimeout(r, 50));
		}
		return times.sort((a, b) => a - b)[times.length >> 1];
	})()`, &median, func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
	t.Logf("a key is on the screen after %.1f ms", median)

	// The lines of a transcript are typed into the terminals that they name.
	do(t, ctx, chromedp.Evaluate(`terminals.type(3, '\x15')`, nil),
		chromedp.Evaluate(`document.querySelector('.replay.transcript .bar button').click()`, nil))
	until(t, ctx, `terminals.all[0].text.includes('make step1')`)
}

// Nothing that was started in a terminal is left when the tour ends.
func TestHangup(t *testing.T) {
	all := newTerminals()
	term := all.all[0]
	if err := all.start(term); err != nil {
		t.Fatal(err)
	}
	term.master.WriteString("sleep 987654 & sleep 987654\r")
	group := term.shell.Process.Pid
	children := func() int {
		list, _ := procfs.Descendants(group)
		return len(list)
	}
	for end := time.Now().Add(10 * time.Second); children() < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	pids, _ := procfs.Descendants(group)
	if len(pids) < 2 {
		t.Fatalf("the shell started %v", pids)
	}
	all.close()
	for _, pid := range append(pids, group) {
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if p, err := procfs.Stat(pid); err != nil || p.State == 'Z' {
				break
			}
		}
		if p, err := procfs.Stat(pid); err == nil && p.State != 'Z' {
			t.Errorf("process %d is left: %s", pid, p.Name)
		}
	}
}

// A program that asks for the cursor's position, and nobody reads the answer, holds up
// nothing.
func TestQueries(t *testing.T) {
	all := newTerminals()
	term := all.all[0]
	if err := all.start(term); err != nil {
		t.Fatal(err)
	}
	term.typed <- "stty -echo; for i in {1..3000}; do printf '\\033[6n'; done; sleep 1; echo still-$((1+1))\r"
	await := func(want string) {
		t.Helper()
		for end := time.Now().Add(60 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			term.mu.Lock()
			text := term.screen.String()
			term.mu.Unlock()
			if strings.Contains(text, want) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%q is not on the screen:\n%s", want, text)
			}
		}
	}
	await("still-2")
	ended := make(chan bool)
	go func() { all.close(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Fatal("the terminals do not end")
	}
}
