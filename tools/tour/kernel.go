package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"epoll-step-by-step/internal/procfs"
	"epoll-step-by-step/internal/xray"
)

// A liveKernel is what the kernel holds for the server that the reader runs, in the form
// of a walk's step.
type liveKernel struct {
	Program string         `json:"program"` // "" if no server listens
	Doing   string         `json:"doing"`   // what its main thread does
	Names   map[int]string `json:"names"`
	Kernel  struct {
		Epolls  []liveEpoll  `json:"epolls"`
		Sockets []liveSocket `json:"sockets"`
	} `json:"kernel"`
}

type liveEpoll struct {
	FD       int            `json:"fd"`
	Interest []liveInterest `json:"interest"`
}

type liveInterest struct {
	FD    int    `json:"fd"`
	Text  string `json:"text"`  // what was asked for
	Ready bool   `json:"ready"` // epoll_wait(2) would return it now
	State string `json:"state"` // how ready it is, in a word
}

type liveSocket struct {
	FD        int    `json:"fd"`
	Listening bool   `json:"listening"`
	State     string `json:"state"`
	Unread    int    `json:"unread"`
	Unsent    int    `json:"unsent"`
	EOF       bool   `json:"eof"`
}

const (
	kernelPause = 100 * time.Millisecond // between two looks at a server
	searchPause = time.Second            // between two searches for one

	longestPause = 2 * time.Second // between two reports
)

// kernel streams what the kernel holds for the server that listens at an address: each
// time something has changed.
func (t *tour) kernel(w http.ResponseWriter, r *http.Request) {
	addr, err := netip.ParseAddrPort(r.URL.Query().Get("addr"))
	if err != nil {
		http.Error(w, "want ?addr=127.0.0.1:6379", http.StatusBadRequest)
		return
	}
	events := newEvents(w, r)
	pid, last := 0, ""
	var now liveKernel
	var report xray.Report
	var seen string // the signs of the report
	var looked time.Time
	for {
		pause := kernelPause
		if pid == 0 {
			pid, _ = procfs.Listening(addr)
			now, seen = liveKernel{}, ""
		}
		if pid != 0 {
			// The whole report takes the kernel milliseconds.
			if changed := signs(pid, report) != seen; changed || time.Since(looked) > longestPause {
				report, err = xray.Inspect(pid)
				if err == nil && listens(report, addr) {
					now, looked = live(report), time.Now()
					seen = signs(pid, report)
				} else {
					pid, now = 0, liveKernel{}
				}
			}
		}
		if pid == 0 {
			pause = searchPause
		}
		text, _ := json.Marshal(now)
		if string(text) != last {
			last = string(text)
			if events.send(text) != nil {
				return
			}
		}
		if !events.pause(pause) {
			return
		}
	}
}

const mostSigns = 32 // connections that are looked at

// signs returns what changes if anything does that the report shows: the CPU time of the
// threads and the queues of the sockets. It is cheaper than a report.
func signs(pid int, r xray.Report) string {
	cpu, err := procfs.ThreadCPU(pid)
	if err != nil {
		return "ended"
	}
	var total time.Duration
	for _, t := range cpu {
		total += t
	}
	text := fmt.Sprint(total)
	listeners, _ := procfs.Listeners() // without sock_diag(7), the longest pause has to do
	for i, s := range r.Sockets[:min(len(r.Sockets), mostSigns)] {
		local, _ := netip.ParseAddrPort(s.Local)
		remote, err := netip.ParseAddrPort(s.Remote)
		if err == nil {
			c, found, _ := procfs.Connection(local, remote)
			text += fmt.Sprintf(" %d:%v,%d,%d,%v", i, found, c.RxQueue, c.TxQueue, c.State)
		}
		for _, l := range listeners {
			if l.Local == local && s.Remote == "" {
				text += fmt.Sprintf(" %d:%d", i, l.RxQueue)
			}
		}
	}
	return text
}

func listens(r xray.Report, addr netip.AddrPort) bool {
	for _, s := range r.Sockets {
		if local, err := netip.ParseAddrPort(s.Local); err == nil && s.State == "LISTEN" && local.Port() == addr.Port() {
			return true
		}
	}
	return false
}

func live(r xray.Report) liveKernel {
	k := liveKernel{Program: r.Process.Name, Names: make(map[int]string)}
	for _, thread := range r.Threads {
		if thread.TID == r.Process.PID {
			k.Doing = thread.State
			if thread.Call != "" {
				k.Doing += " in " + thread.Call
			}
		}
	}
	for _, e := range r.Epolls {
		if e.Owner != "" {
			continue // the runtime's
		}
		l := liveEpoll{FD: e.FD}
		for _, in := range e.Interests {
			text := strings.ReplaceAll(in.Asked, "EPOLL", "")
			if strings.HasPrefix(in.Trigger, "edge") {
				text += "|ET"
			}
			l.Interest = append(l.Interest, liveInterest{in.FD, text, in.Ready == "yes", in.Ready})
		}
		k.Kernel.Epolls = append(k.Kernel.Epolls, l)
	}
	for _, s := range r.Sockets {
		if s.FD < 0 {
			continue // it waits in the accept queue
		}
		l := liveSocket{FD: s.FD, Listening: s.State == "LISTEN", State: s.State, Unread: s.Unread, Unsent: s.Unsent, EOF: s.EndUnread}
		k.Names[s.FD] = "listener"
		if l.Listening {
			l.Unread = s.Waiting
		} else {
			_, port, _ := strings.Cut(s.Remote, "]:")
			if port == "" {
				_, port, _ = strings.Cut(s.Remote, ":")
			}
			k.Names[s.FD] = ":" + port
		}
		k.Kernel.Sockets = append(k.Kernel.Sockets, l)
	}
	return k
}
