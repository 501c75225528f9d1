module epoll-step-by-step/tools/tour

go 1.24.0

require (
	epoll-step-by-step v0.0.0
	github.com/alecthomas/chroma/v2 v2.20.0
	github.com/chromedp/cdproto v0.0.0-20250724212937-08a3db8b4327
	github.com/chromedp/chromedp v0.14.2
	github.com/yuin/goldmark v1.8.7
	golang.org/x/sys v0.41.0
)

require (
	github.com/chromedp/sysutil v1.1.0 // indirect
	github.com/dlclark/regexp2 v1.11.5 // indirect
	github.com/go-json-experiment/json v0.0.0-20250725192818-e39067aee2d2 // indirect
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/pool v0.2.1 // indirect
	github.com/gobwas/ws v1.4.0 // indirect
)

replace epoll-step-by-step => ../..
