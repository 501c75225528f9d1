package main

import (
	"crypto/rand"
	"crypto/subtle"
	"net/http"
	"strings"
)

// A guard lets one browser in. The tour runs programs for whoever may talk to it, so it
// is guarded like a shell:
//
//   - the first address contains a token; the answer moves it into a cookie that no
//     script can read and that no other site's page can send;
//   - Host must be our address: otherwise another name could be pointed at it (DNS
//     rebinding), and that name's page would be of the same origin;
//   - a request that does something must have our Origin;
//   - a page of ours may load, run and be framed by nothing but our own files.
type guard struct {
	host  string // as in "127.0.0.1:6380"
	token string
	next  http.Handler
}

// cookie returns the cookie's name. It has the port in it, because cookies are the same
// for all ports of an address. (So a browser also sends it to another program that listens
// on 127.0.0.1: do not open pages of programs that you do not trust.)
func (g *guard) cookie() string {
	return "tour-" + g.host[strings.LastIndexByte(g.host, ':')+1:]
}

func newGuard(host string, next http.Handler) *guard {
	return &guard{host: host, token: rand.Text(), next: next}
}

// url returns the address to open in the browser.
func (g *guard) url() string { return "http://" + g.host + "/?token=" + g.token }

const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if r.Host != g.host {
		http.Error(w, "this is not the tour's address: open the one that it has printed", http.StatusMisdirectedRequest)
		return
	}
	if origin := r.Header.Get("Origin"); origin != "" && origin != "http://"+g.host {
		http.Error(w, "a request from another site's page", http.StatusForbidden)
		return
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" && r.Method != http.MethodGet {
		http.Error(w, "a request from another site's page", http.StatusForbidden)
		return
	}
	if token := r.URL.Query().Get("token"); token != "" && r.Method == http.MethodGet && g.is(token) {
		http.SetCookie(w, &http.Cookie{
			Name: g.cookie(), Value: g.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		})
		// Without the token, so that it is not in the browser's history. The page does it
		// itself: a redirect from another program would not send the cookie.
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Refresh", "0; url="+strings.TrimSuffix(r.URL.Path, "/")+"/")
		return
	}
	cookie, err := r.Cookie(g.cookie())
	if err != nil || !g.is(cookie.Value) {
		http.Error(w, "open the address that the tour has printed: it contains a token", http.StatusForbidden)
		return
	}
	if r.Method != http.MethodGet && r.Header.Get("Origin") == "" {
		http.Error(w, "a request without Origin", http.StatusForbidden)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	g.next.ServeHTTP(w, r)
}

func (g *guard) is(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(g.token)) == 1
}
