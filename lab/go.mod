module epoll-step-by-step/lab

go 1.26.0

require (
	epoll-step-by-step v0.0.0
	golang.org/x/sys v0.49.0
	golang.org/x/term v0.47.0
)

replace epoll-step-by-step => ..
