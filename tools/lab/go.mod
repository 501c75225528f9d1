module epoll-step-by-step/tools/lab

go 1.24.0

require (
	epoll-step-by-step v0.0.0
	golang.org/x/sys v0.41.0
	golang.org/x/term v0.40.0
)

replace epoll-step-by-step => ../..
