# epoll, step by step. "make" alone says what there is to make.

ifneq ($(shell uname -s),Linux)
$(error epoll(7) is a part of Linux: use a Linux machine, a virtual one, or the container in .devcontainer: README.md, "On macOS or Windows")
endif

STEP1 := step1-blocking
STEP2 := step2-nonblocking
STEP3 := step3-epoll-lt
STEP4 := step4-epoll-et
STEPS := 1 2 3 4

ADDR ?= 127.0.0.1:6379
ifeq ($(origin AS),default) # make's own AS is the assembler
AS := echo
endif

# lab is a module of its own: go.work. So is bench, which go.work leaves out:
# who does not measure needs none of its libraries. And exercises/NN-name/main.go
# is the learner's: an error in it is no error here.
PACKAGES = $(shell go list -e ./... | grep -vE '/exercises/[0-9]+-[^/]+$$') ./tools/lab/...
SOURCE = $(shell find . -name '*.go' | grep -vE '/exercises/[0-9]+-[^/]+/main.go$$')
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

# What the trace shows: the calls of the man pages, from socket(2) on, without
# those that the Go runtime makes before. What comes then is passed on byte by
# byte, for the call in which the step sleeps is a line without an end. The log
# is in the trace, as what it is: write(2) to descriptor 2.
FROM_SOCKET := trap "" INT; while read -r line; do case $$line in socket*) echo "$$line"; exec cat;; esac; done
CALLS := socket,setsockopt,bind,listen,getsockname,accept,accept4,fcntl,read,write,close
CALLS := $(CALLS),epoll_create1,epoll_ctl,?epoll_wait,epoll_pwait
# The table begins below the ^C that ends the count.
BELOW := trap "" INT; IFS= read -r line; test ! -t 1 || echo; echo "$$line"; cat
# Steps 1 and 2 have no epoll: how often the runtime asks its own is chance.
COUNTED := accept4,read,write,close
COUNTED3 := ,epoll_ctl,?epoll_wait,epoll_pwait
COUNTED4 := $(COUNTED3)

.DEFAULT_GOAL := help
.PHONY: help test check setup doctor fmt lint clean strace
.PHONY: beyond exercises exercise hint solution diff reset watch bin/exercises
.PHONY: $(foreach n,$(STEPS),step$(n) trace$(n) count$(n)) diff2 diff3 diff4 docs lab xray bench plots

help: ## this list
	@sed -n -e 's/^## \([^:]*\): */\1## /p' -e 's/^\([a-z][a-z0-9]*\):[^#]*## */\1## /p' $(MAKEFILE_LIST) \
	| while read -r line; do printf '  make %-15s %s\n' "$${line%%##*}" "$${line#*## }"; done

## step1..step4: run a step [ADDR=127.0.0.1:6379]; talk to it: nc localhost 6379
$(foreach n,$(STEPS),step$(n)): step%:
	@go build -o bin/$(STEP$*) ./$(STEP$*)
	@trap 'sleep 0.1' INT; bin/$(STEP$*) -addr $(ADDR) || test $$? -gt 128 \
		|| { echo "make says -addr for you: make step$* ADDR=127.0.0.1:7000"; exit 1; }

## trace1..trace4: run a step under strace: its calls on sockets and epoll [ADDR=]
$(foreach n,$(STEPS),trace$(n)): trace%: strace
	@go build -o bin/$(STEP$*) ./$(STEP$*)
	@trap 'sleep 0.1' INT; strace -e trace=$(CALLS) -e signal=none -s 80 -o '|$(FROM_SOCKET)' \
		bin/$(STEP$*) -addr $(ADDR) 2>bin/stderr || test $$? -gt 128 || { cat bin/stderr; exit 1; }

## count1..count4: run a step, and count its calls until Ctrl-C [ADDR=]
$(foreach n,$(STEPS),count$(n)): count%: strace
	@go build -o bin/$(STEP$*) ./$(STEP$*)
	@trap 'sleep 0.1' INT; strace -I3 -o '|$(BELOW)' -c -S name -U calls,errors,name -e trace=$(COUNTED)$(COUNTED$*) -e signal=none \
		bin/$(STEP$*) -addr $(ADDR) || test $$? -gt 128

strace:
	@command -v strace >/dev/null || { echo "strace is not installed: make setup"; exit 1; }

## diff2..diff4: what a step changes in the one before it
diff2 diff3 diff4: diff%:
	@git --no-pager diff --no-index $(STEP$(shell expr $* - 1))/main.go $(STEP$*)/main.go; \
	case $$? in 0|1|141) ;; *) exit 1;; esac # 141: whoever reads has seen enough

# What the documents run is compiled without this folder's name, so that it is
# good in a copy of it, too. With all the rest compiled so, nothing is twice.
test lint: export GOFLAGS += -trimpath -buildvcs=false
test lint: export CGO_ENABLED = 0

# One package after the other (-p 1): so go test prints as it goes, and no
# grading disturbs another one's. It would compile like that, too, with one
# processor; so go list does, before. Of subtests those are shown that take long
# (TestGate, TestGrading, TestWrongServers), or that do not pass. What go vet has
# to say, make lint asks.
test: setup ## all tests (some seven minutes on 2 CPUs)
	@mkdir -p bin && rm -f bin/failed
	@go list -export -test $(PACKAGES) >/dev/null 2>&1 || true
	@{ go test -count=1 -p 1 -vet=off -timeout 15m -v $(PACKAGES) || touch bin/failed; GOWORK=off go test -C tools/bench -count=1 -vet=off -v ./... || touch bin/failed; } 2>&1 \
	| grep --line-buffered -vE '^=== |^PASS$$|no test files|^ +--- PASS: Test[^GW]'; test ! -e bin/failed

check: ## grade a server: SERVER="./a.out {port}" [AS=lt] [ONLY=ID,ID]; or PID= or ADDR=
ifeq ($(SERVER)$(PID)$(filter-out undefined default file,$(origin ADDR)),)
	@echo 'What is to be graded? For example:'
	@echo '  make check SERVER="./a.out"                      which listens on 6379'
	@echo '  make check SERVER="python3 server.py {port}"     on a port of our choosing'
	@echo '  make check ADDR=127.0.0.1:7000                   which runs already'
	@exit 2
endif
	@go build -o bin/ ./tools/exam $(foreach n,$(STEPS),./$(STEP$(n)))
	@bin/exam -as $(AS) $(if $(filter-out undefined default file,$(origin ADDR)),-addr $(ADDR)) \
		$(if $(ONLY),-only "$(ONLY)") $(if $(PID),-pid $(PID)) $(if $(SERVER),-- $(SERVER))

lab: ## type epoll calls by hand [FILE=script]
	@go build -o bin/lab ./tools/lab
	@trap 'sleep 0.1' INT; bin/lab $(FILE)

xray: ## what a running server waits for, live [ADDR=] or PID=; Ctrl-C ends it
	@go build -o bin/xray ./tools/xray
	@trap 'sleep 0.1' INT; bin/xray $(if $(PID),-pid $(PID),-addr $(ADDR))

bench: ## measure the steps beside other servers [QUICK=1] [ONLY=step3,c] [RECORD=1]; exercise 19: RAW=1
	@GOWORK=off go build -C tools/bench -o ../../bin/bench .
	@trap 'sleep 0.1' INT; bin/bench -root . $(if $(QUICK),-quick) $(if $(RAW),-raw) $(if $(ONLY),-only "$(ONLY)") \
		-o $(if $(RECORD),tools/bench/results,bin)/$(if $(RAW),raw,bench).txt

plots: ## draw the charts in docs/img anew, from tools/bench/results/*.txt
	@GOWORK=off go run -C tools/bench ./plots

# Debian has HAProxy in a folder where not every user's shell looks.
beyond: ## HAProxy before servers at 127.0.0.2, .3 and .4: chapter 07 [ADDR=]
	@PATH="$$PATH:/usr/sbin"; command -v haproxy >/dev/null || { echo "haproxy is not installed: make setup"; exit 1; }; \
	mkdir -p bin; cd bin; ! nc -zU haproxy.sock 2>/dev/null || { echo "HAProxy runs already: end it by Ctrl-C"; exit 1; }; \
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
	@go build -o bin/ ./tools/exercises

docs: ## run again what the documents quote: code, diffs, terminals
	@go run ./tools/docs

setup: ## install what is needed besides: strace, nc, redis-cli, man pages
	@go run ./tools/doctor -install

doctor: ## look whether all is there, and say what to do if not
	@go run ./tools/doctor

fmt: ## gofmt everything
	@gofmt -l -w $(SOURCE)

# What go vet has seen of the exercises needs no linker.
lint: ## gofmt, go vet, staticcheck; go vet and go build for arm64, too
	@out=$$(gofmt -l $(SOURCE)); test -z "$$out" || { echo "gofmt would change (make fmt): $$out"; exit 1; }
	@go vet $(PACKAGES)
	@GOARCH=arm64 go vet $(PACKAGES)
	@GOARCH=arm64 go build $$(go list -e -f '{{if .GoFiles}}{{.ImportPath}}{{end}}' $(PACKAGES) | grep -v '/exercises/[0-9]')
	@go run $(STATICCHECK) $(PACKAGES)
	@GOWORK=off go vet -C tools/bench ./... && GOWORK=off GOARCH=arm64 go vet -C tools/bench ./...
	@GOWORK=off go run -C tools/bench $(STATICCHECK) ./...

clean: ## remove what was built
	@rm -rf bin
