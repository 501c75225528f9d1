package doctest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"epoll-step-by-step/internal/transcript"
)

const numbersVary = "numbers vary" // the option of a transcript

// transcriptBlock runs a script in a copy of the repository. The language of
// scripts is that of package transcript.
func transcriptBlock(ctx context.Context, rest string) (language, text string, err error) {
	options, source, _ := strings.Cut(rest, "\n")
	if options = strings.TrimSpace(options); options != "" && options != numbersVary {
		return "", "", fmt.Errorf("no such option: %s", options)
	}
	script, err := transcript.Parse(source)
	if err != nil {
		return "", "", err
	}
	if err := toolsFor(script); err != nil {
		return "", "", err
	}
	dir, err := copyRepository(ctx, script)
	if err != nil {
		return "", "", err
	}
	defer os.RemoveAll(dir)
	language = "console"
	if script.Numbered() {
		language = "text"
	}
	text, err = script.Run(ctx, dir, environment())
	return language, text, err
}

var stracing = regexp.MustCompile(`^(trace|count)[1-4]$`) // targets of make

// toolsFor fails with an error of type missing if a command needs a program that
// is not installed, or a network namespace where only root may make one.
func toolsFor(script transcript.Script) error {
	for _, word := range script.Words() {
		if stracing.MatchString(word) {
			word = "strace"
		}
		switch word {
		case "nc", "strace", "ss", "ps", "redis-cli", "redis-benchmark", "g++", "haproxy":
			if _, err := exec.LookPath(word); err != nil {
				return missing(word + " is not installed: make setup")
			}
		}
	}
	for _, command := range script.Commands() {
		if strings.Contains(command, "./beyond/gone") && exec.Command("unshare", "-rn", "ip", "link", "add", "near", "type", "veth").Run() != nil {
			return missing("no network namespace without root: user_namespaces(7)")
		}
	}
	return nil
}

var built = regexp.MustCompile(`\bbin/(step[1-4][\w-]*)`)

// copyRepository returns a copy of the repository, without .git and bin, which a
// script may change. If a command uses git, the copy has one commit. If a command
// uses a step in bin, which readers built in an earlier chapter, it is there.
func copyRepository(ctx context.Context, script transcript.Script) (string, error) {
	dir, err := os.MkdirTemp("", "doctest")
	if err != nil {
		return "", err
	}
	setup := `cp -a -- "$@" .`
	if programs != "" && slices.Contains(script.Words(), "make") {
		setup += " && cp -a '" + programs + "' bin"
	}
	if slices.Contains(script.Words(), "git") {
		setup += ` && git init -q && git add -A && git commit -qm "as it was"`
	}
	for _, command := range script.Commands() {
		for _, m := range built.FindAllStringSubmatch(command, -1) {
			if programs != "" {
				setup += " && mkdir -p bin && cp -a '" + programs + "/" + m[1] + "' bin"
			} else {
				setup += " && go build -o bin/ ./" + m[1]
			}
		}
	}
	here, err := filepath.Abs(".")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "sh", "-c", setup, "sh")
	entries, _ := os.ReadDir(".")
	for _, e := range entries {
		if e.Name() != ".git" && e.Name() != "bin" {
			cmd.Args = append(cmd.Args, filepath.Join(here, e.Name()))
		}
	}
	cmd.Dir, cmd.Env = dir, environment()
	if out, err := cmd.CombinedOutput(); err != nil {
		os.RemoveAll(dir)
		return "", fmt.Errorf("copying the repository: %w: %s", err, out)
	}
	return dir, nil
}

// environment returns the environment of this process without what would show
// in a transcript.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "MAKEFLAGS" || name == "MAKELEVEL" || strings.HasPrefix(name, "GIT_")
	})
	return slices.Concat(env, plainGit, []string{
		"NO_COLOR=1", "TERM=dumb", "LC_ALL=C.UTF-8", "COLUMNS=72",
		"GOFLAGS=-trimpath -buildvcs=false", // programs built in another folder stay up to date
		"GIT_AUTHOR_NAME=Reader", "GIT_AUTHOR_EMAIL=reader@localhost",
		"GIT_COMMITTER_NAME=Reader", "GIT_COMMITTER_EMAIL=reader@localhost",
	})
}
