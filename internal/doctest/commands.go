package doctest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"epoll-step-by-step/internal/exam/checks"
)

var (
	consolePrompt = regexp.MustCompile(`^[\s>]*(?:\d+ *│ *)?(?:\d*\$ +)?`)
	shellToken    = regexp.MustCompile(`(?:"[^"]*"|'[^']*'|[^\s"';&|#])+|[;&|]+|#.*`)
	makeName      = regexp.MustCompile(`^[a-z][a-z0-9_-]*$`)
	makeVariable  = regexp.MustCompile(`^([A-Z][A-Z0-9_]*)=`)
	makeTarget    = regexp.MustCompile(`(?m)^([a-z][a-z0-9_-]*):`)
)

// checkMake reports make commands with targets or variables that the Makefile does
// not have.
func checkMake(root string, docs []*markdown) []Problem {
	targets, err := makeTargets(root)
	if err != nil {
		return []Problem{{"Makefile", 1, err.Error()}}
	}
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		return []Problem{{"Makefile", 1, err.Error()}}
	}
	var ps []Problem
	for _, d := range docs {
		for _, c := range d.commandLines() {
			names, variables := makeArguments(c.text)
			for _, name := range names {
				if !targets[name] {
					ps = append(ps, d.problem(c.line, "the Makefile has no target %s: correct \"make %s\", or add the target", name, name))
				}
			}
			for _, v := range variables {
				if !regexp.MustCompile(`\b` + v + `\b`).Match(makefile) {
					ps = append(ps, d.problem(c.line, "the Makefile knows no variable %s: correct \"%s=\", or let the Makefile use it", v, v))
				}
			}
		}
	}
	return ps
}

// makeTargets gets the targets from make itself, because the Makefile computes
// some of them. make is asked for ":", which does not exist, so it prints its data
// base and fails.
func makeTargets(root string) (map[string]bool, error) {
	cmd := exec.Command("make", "-pRrq", "--no-print-directory", ":")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	targets := make(map[string]bool)
	for _, t := range find(makeTarget, string(out)) {
		targets[t.text] = true
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("make names no targets: %v: %s", err, stderr.Bytes())
	}
	return targets, nil
}

// commandLines returns the text that may be a command: code spans, and each line
// of blocks and directives, without its prompt.
func (d *markdown) commandLines() []excerpt {
	all := d.codeSpans()
	for i, l := range d.lines {
		if l.kind != proseLine && l.kind != commentLine {
			all = append(all, excerpt{i + 1, consolePrompt.ReplaceAllString(l.text, "")})
		}
	}
	return all
}

// makeArguments returns the variables and the first target of each make command
// in a line. Prose may follow the first target.
func makeArguments(line string) (targets, variables []string) {
	position := 0 // in the command; -1 if that is not make
	for _, token := range shellToken.FindAllString(line, -1) {
		switch {
		case strings.ContainsAny(token[:1], ";&|#"):
			position = 0
			continue
		case position < 0:
			continue
		case position == 0 && token != "make", token == "-C", token == "-f":
			position = -1 // it uses another Makefile
			continue
		}
		if v := makeVariable.FindStringSubmatch(token); v != nil {
			variables = append(variables, v[1])
		} else if position == 1 && !strings.HasPrefix(token, "-") {
			if makeName.MatchString(token) {
				targets = append(targets, token)
			}
			position++
		} else if position == 0 {
			position++
		}
	}
	return targets, variables
}

var lineNumber = regexp.MustCompile(`:\d+(-\d+)?$`)

var learnersFile = regexp.MustCompile(`^exercises/\d\d-[a-z0-9-]+/main\.go$`)

// checkPaths reports files in code spans that the repository does not have. Only
// words that begin with a folder at the root are paths; others are the reader's.
func checkPaths(root string, docs []*markdown) []Problem {
	var ps []Problem
	for _, d := range docs {
		for _, span := range d.codeSpans() {
			for word := range strings.FieldsSeq(span.text) {
				file, _, _ := strings.Cut(strings.Trim(word, `"',;`), "#")
				file = strings.TrimPrefix(lineNumber.ReplaceAllString(file, ""), "./")
				top, _, nested := strings.Cut(file, "/")
				pattern := strings.ContainsAny(file, "{}*<>…") || strings.Contains(file, "...") || strings.Contains(file, "NAME")
				learners := learnersFile.MatchString(file) // made on first use
				if nested && !pattern && !learners && exists(root, top) && !exists(root, path.Clean(file)) {
					ps = append(ps, d.problem(span.line, "there is no %s in the repository: correct the path, or add the file", file))
				}
			}
		}
	}
	return ps
}

var onlyIDs = regexp.MustCompile(`\bONLY=["']?([A-Z0-9_,]+)`)

// checkIDs reports ONLY= with a check that the examiner does not have.
func checkIDs(_ string, docs []*markdown) []Problem {
	var ps []Problem
	for _, d := range docs {
		for i, l := range d.lines {
			for _, only := range find(onlyIDs, l.text) {
				for id := range strings.SplitSeq(only.text, ",") {
					known := slices.Contains(checks.IDs(), id)
					if !known && id != "ID" && id != "" { // "make help" says ONLY=ID,ID
						ps = append(ps, d.problem(i+1, "the examiner has no check %s: see \"go run ./tools/exam -list\"", id))
					}
				}
			}
		}
	}
	return ps
}
