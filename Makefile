# epoll, step by step. "make" alone lists the targets.

ifneq ($(shell uname -s),Linux)
$(error epoll(7) exists on Linux only. Use a Linux machine, a virtual machine, or the container in .devcontainer: see README.md, "On macOS or Windows")
endif

STEP1 := step1-blocking
STEP2 := step2-nonblocking
STEP3 := step3-epoll-lt
STEP4 := step4-epoll-et
STEPS := 1 2 3 4

# The steps, the examiner and the exercises need nothing but the root module. Without
# the workspace, GOFLAGS=-mod=mod is allowed, too.
BUILD := GOWORK=off go build

ADDR ?= 127.0.0.1:6379
ifeq ($(origin AS),default) # make defines AS itself: the assembler
AS := echo
endif

# All packages except the learner's programs, exercises/NN-name/main.go: an error
# there is not an error of the repository. tools/lab is a module of its own, listed
# in go.work. go.work leaves out the modules of ALONE, so that only those who use them
# download their libraries.
PACKAGES = $(shell go list -e ./... | grep -vE '/exercises/[0-9]+-[^/]+$$') ./tools/lab/...
SOURCE = $(shell find . -name '*.go' | grep -vE '/exercises/[0-9]+-[^/]+/main.go$$')
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# A trace shows the calls of the man pages, from socket(2) on: the Go runtime's
# calls before that are left out. cat passes the rest on byte by byte, because the
# call in which a step sleeps is a line without an end. The step's log is part of
# the trace: it is write(2) to descriptor 2.
FROM_SOCKET := trap "" INT; while read -r line; do case $$line in socket*) echo "$$line"; exec cat;; esac; done
# The call that unix.EpollWait makes. Only on amd64 does it differ from the call
# that the Go runtime makes on an epoll instance of its own, epoll_pwait(2).
WAIT := $(if $(filter x86_64,$(shell uname -m)),epoll_wait,epoll_pwait)
CALLS := socket,setsockopt,bind,listen,getsockname,accept,accept4,fcntl,read,write,close
CALLS := $(CALLS),epoll_create1,epoll_ctl,$(WAIT)
# The terminal prints ^C when Ctrl-C ends the count. The table begins below it.
BELOW := trap "" INT; IFS= read -r line; test ! -t 1 || echo; echo "$$line"; cat
COUNTED := accept4,read,write,close
COUNTED3 := ,epoll_ctl,$(WAIT)
COUNTED4 := $(COUNTED3)

.DEFAULT_GOAL := help
.PHONY: help test soak check setup doctor fmt lint clean strace bin/suite
.PHONY: beyond exercises exercise hint solution diff reset watch bin/exercises
.PHONY: $(foreach n,$(STEPS),step$(n) trace$(n) count$(n)) diff2 diff3 diff4 docs lab xray bench plots
.PHONY: tour walk bin/walk/walk $(foreach n,$(STEPS),walk$(n))

help: ## this list
	@sed -n -e 's/^## \([^:]*\): */\1## /p' -e 's/^\([a-z][a-z0-9]*\):[^#]*## */\1## /p' $(MAKEFILE_LIST) \
	| while read -r line; do printf '  make %-15s %s\n' "$${line%%##*}" "$${line#*## }"; done

## step1..step4: run a step [ADDR=127.0.0.1:6379]; talk to it: nc localhost 6379
$(foreach n,$(STEPS),step$(n)): step%:
	@$(BUILD) -o bin/$(STEP$*) ./$(STEP$*)
	@trap 'sleep 0.1' INT; bin/$(STEP$*) -addr $(ADDR) || test $$? -gt 128 \
		|| { echo "make says -addr for you: make step$* ADDR=127.0.0.1:7000"; exit 1; }

## trace1..trace4: run a step under strace: its calls on sockets and epoll [ADDR=]
$(foreach n,$(STEPS),trace$(n)): trace%: strace
	@$(BUILD) -o bin/$(STEP$*) ./$(STEP$*)
	@trap 'sleep 0.1' INT; strace -e trace=$(CALLS) -e signal=none -s 80 -o '|$(FROM_SOCKET)' \
		bin/$(STEP$*) -addr $(ADDR) 2>bin/stderr || test $$? -gt 128 || { cat bin/stderr; exit 1; }

## count1..count4: run a step, and count its calls until Ctrl-C [ADDR=]
$(foreach n,$(STEPS),count$(n)): count%: strace
	@$(BUILD) -o bin/$(STEP$*) ./$(STEP$*)
	@trap 'sleep 0.1' INT; strace -I3 -o '|$(BELOW)' -c -S name -U calls,errors,name -e trace=$(COUNTED)$(COUNTED$*) -e signal=none \
		bin/$(STEP$*) -addr $(ADDR) || test $$? -gt 128

strace:
	@command -v strace >/dev/null || { echo "strace is not installed: make setup"; exit 1; }

## diff2..diff4: what a step changes in the step before it
diff2 diff3 diff4: diff%:
	@git --no-pager diff --no-index $(STEP$(shell expr $* - 1))/main.go $(STEP$*)/main.go; \
	case $$? in 0|1|141) ;; *) exit 1;; esac # 141: SIGPIPE, a pager was closed early

# What the documents run is compiled without this folder's name, so that a copy of
# the folder can use it, too. All the rest is compiled in the same way, so that
# nothing is compiled twice.
test soak lint: export GOFLAGS += -trimpath -buildvcs=false
test soak lint: export CGO_ENABLED = 0

# Modules of their own, outside the workspace.
ALONE := tools/bench tools/walk tools/tour
comma := ,
SUITE = bin/suite -alone $(subst $() ,$(comma),$(ALONE)) $(if $(RUN),-run '$(RUN)')

test: setup bin/suite ## the tests, in some three minutes; ALL=1: all of them [RUN=regexp]
	@$(SUITE) $(if $(ALL),,-short) $(PACKAGES)

# make soak [N=20] [RUN=regexp] [WHEN=quiet,busy,one] [ALL=1]
soak: bin/suite ## hunt a flaky test: N runs on an idle, a busy and a one-CPU machine
	@$(SUITE) -n $(or $(N),20) -when $(or $(WHEN),quiet,busy,one) $(if $(ALL),,-short) $(PACKAGES)

bin/suite:
	@go build -o bin/ ./tools/suite

check: ## grade a server: SERVER="./a.out {port}" [AS=lt] [SPEAKS=redis] [ONLY=ID,ID] [JUNIT=FILE]; or PID= or ADDR=
ifeq ($(SERVER)$(PID)$(filter-out undefined default file,$(origin ADDR)),)
	@echo 'Which server do you want to grade? For example:'
	@echo '  make check SERVER="./a.out"                      a server that listens on 6379'
	@echo '  make check SERVER="python3 server.py {port}"     on a port that the examiner chooses'
	@echo '  make check ADDR=127.0.0.1:7000                   a server that is already running'
	@exit 2
endif
	@$(BUILD) -o bin/ ./tools/exam $(foreach n,$(STEPS),./$(STEP$(n)))
	@bin/exam -as $(AS) $(if $(filter-out undefined default file,$(origin ADDR)),-addr "$(ADDR)") \
		$(if $(SPEAKS),-speaks "$(SPEAKS)") $(if $(ASK),-ask "$$ASK") $(if $(REPLY),-reply "$$REPLY") \
		$(if $(JUNIT),-junit "$(JUNIT)") $(if $(ONLY),-only "$(ONLY)") $(if $(PID),-pid $(PID)) $(if $(SERVER),-- $(SERVER))

lab: ## type epoll calls by hand, one a line [FILE=script]
	@go build -o bin/lab ./tools/lab
	@trap 'sleep 0.1' INT; bin/lab $(FILE)

xray: ## show live what a running server waits for [ADDR=] or PID=
	@go build -o bin/xray ./tools/xray
	@trap 'sleep 0.1' INT; bin/xray $(if $(PID),-pid $(PID),-addr $(ADDR))

## walk1..walk4: run a step one system call at a time, and watch the kernel
$(foreach n,$(STEPS),walk$(n)): walk%: bin/walk/walk
	@bin/walk/walk $(WALK) $(STEP$*)

walk: bin/walk/walk ## the same for an exercise, EXERCISE=11, or a server in C or C++: SERVER="./a.out {port}"
ifneq ($(EXERCISE),)
	@$(BUILD) -o bin/ ./tools/exercises
	@dir=$$(bin/exercises path $(EXERCISE)) && bin/walk/walk $(WALK) "$$dir"
else ifneq ($(SERVER),)
	@bin/walk/walk $(WALK) $(SERVER)
else ifneq ($(REPLAY),)
	@bin/walk/walk -replay "$(REPLAY)"
else
	@echo 'What do you want to walk through? For example:'
	@echo '  make walk3                                   step 3'
	@echo '  make walk EXERCISE=11                        your main.go of an exercise'
	@echo '  make walk SERVER="./server_epoll {port}"     a server in C or C++, compiled with -g'
	@echo '  make walk3 RECORD=walk.json                  a step, and keep what is seen'
	@echo '  make walk REPLAY=walk.json                   look at it again'
	@exit 2
endif

WALK = $(if $(RECORD),-record "$(RECORD)")
bin/walk/walk:
	@GOWORK=off go build -C tools/walk -o ../../bin/walk/walk .

tour: ## the chapters in a browser, with terminals, labs and walks
	@GOWORK=off go build -C tools/tour -o ../../bin/tour .
	@trap 'sleep 0.1' INT; bin/tour

# RAW=1: exercise 19; TRIED=1: what was tried to make step 3 cheaper; SHARED=1: the
# clients may use the servers' CPUs.
bench: ## compare the steps with other servers [QUICK=1] [ONLY=step3,c] [RAW=1]
	@GOWORK=off go build -C tools/bench -o ../../bin/bench .
	@trap 'sleep 0.1' INT; bin/bench -root . $(if $(QUICK),-quick) $(if $(RAW),-raw) $(if $(TRIED),-tried) \
		$(if $(SHARED),-apart=false) $(if $(ONLY),-only "$(ONLY)") \
		-o $(if $(RECORD),tools/bench/results,bin)/$(if $(RAW),raw,$(if $(TRIED),tried,bench))$(if $(SHARED),-shared).txt

plots: ## redraw the charts in docs/img from tools/bench/results/*.txt
	@GOWORK=off go run -C tools/bench ./plots

# Debian installs HAProxy in /usr/sbin, which not every user has in PATH.
beyond: ## HAProxy in front of servers on 127.0.0.2, .3 and .4: chapter 07 [ADDR=]
	@PATH="$$PATH:/usr/sbin"; command -v haproxy >/dev/null || { echo "haproxy is not installed: make setup"; exit 1; }; \
	mkdir -p bin; cd bin; ! nc -zU haproxy.sock 2>/dev/null || { echo "HAProxy is already running: end it with Ctrl-C"; exit 1; }; \
	echo "HAProxy: at 127.0.0.1:$(lastword $(subst :, ,$(ADDR))); Ctrl-C ends it"; trap 'sleep 0.1' INT; \
	PORT=$(lastword $(subst :, ,$(ADDR))) haproxy -f ../beyond/haproxy.cfg || test $$? -gt 128

exercises: bin/exercises ## list the exercises with their state
	@bin/exercises list

exercise: bin/exercises ## grade one: N=07; in any language: N=07 SERVER="./a.out {port}"
	@trap 'sleep 0.1' INT; bin/exercises check $(N) $(if $(SERVER),-- $(SERVER))

hint: bin/exercises ## show the next hint of an exercise: N=07
	@bin/exercises hint $(N)

solution: bin/exercises ## show the solution, once yours has passed: N=07 [FORCE=1]
	@bin/exercises solution $(if $(FORCE),-force) $(N)

diff: bin/exercises ## compare your main.go with its step, a big hint: N=07; after a pass, with ours
	@bin/exercises diff $(N)

reset: bin/exercises ## start an exercise over: N=07; your text is kept
	@bin/exercises reset $(N)

watch: bin/exercises ## grade an exercise each time you save it [N=07]
	@trap 'sleep 0.1' INT; bin/exercises watch $(N) || test $$? -gt 128

bin/exercises:
	@$(BUILD) -o bin/ ./tools/exercises

docs: ## refresh what the documents quote: code, diffs, terminals
	@go run ./tools/docs

setup: ## install the other tools: strace, nc, redis-cli, man pages [BENCH=1]
	@go run ./tools/doctor -install $(if $(BENCH),-bench)

doctor: ## check this machine, and say what to do if something is missing
	@go run ./tools/doctor

fmt: ## gofmt everything
	@gofmt -l -w $(SOURCE)

# The exercises are vetted for arm64 but not built: linking 38 programs takes long
# and would find nothing that go vet does not.
lint: ## gofmt, go vet, staticcheck; go vet and go build for arm64
	@out=$$(gofmt -l $(SOURCE)); test -z "$$out" || { echo "gofmt would change (make fmt): $$out"; exit 1; }
	@go vet $(PACKAGES)
	@GOARCH=arm64 go vet $(PACKAGES)
	@GOARCH=arm64 go build $$(go list -e -f '{{if .GoFiles}}{{.ImportPath}}{{end}}' $(PACKAGES) | grep -v '/exercises/[0-9]')
	@go run $(STATICCHECK) $(PACKAGES)
	@for m in $(ALONE); do \
		GOWORK=off go vet -C $$m ./... && GOWORK=off GOARCH=arm64 go vet -C $$m ./... \
		&& GOWORK=off go run -C $$m $(STATICCHECK) ./... || exit 1; done

clean: ## remove what was built
	@rm -rf bin
