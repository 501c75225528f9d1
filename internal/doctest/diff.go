package doctest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"
)

// plainGit makes git ignore the user's configuration, which would change a document.
var plainGit = []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null"}

// diff returns the difference between two steps: the hunks or, with NAME, one whole
// declaration.
func diff(ctx context.Context, rest string) (language, text string, err error) {
	args := strings.Fields(rest)
	if len(args) != 2 && len(args) != 3 {
		return "", "", errors.New("want STEP STEP [NAME]")
	}
	var texts [2]string
	for i, step := range args[:2] {
		file := filepath.Join(step, "main.go")
		if len(args) == 2 {
			texts[i], err = textOf(file)
		} else {
			texts[i], err = declarationIn(file, args[2])
		}
		if err != nil {
			return "", "", err
		}
	}
	switch {
	case texts[0] == "" && texts[1] == "":
		return "", "", fmt.Errorf("neither step has %s", args[2])
	case texts[0] == texts[1]:
		return "", "", errors.New("the two are the same")
	case len(args) == 2:
		text, err = gitDiff(ctx, texts[0], texts[1], 3)
	default:
		text, err = gitDiff(ctx, texts[0], texts[1], 999)
		_, text, _ = strings.Cut(text, "\n") // the line with @@
	}
	return "diff", text, err
}

// gitDiff returns the hunks of a diff with so many lines of context.
func gitDiff(ctx context.Context, old, now string, context int) (string, error) {
	dir, err := os.MkdirTemp("", "doctest")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	err = errors.Join(os.WriteFile(filepath.Join(dir, "old"), []byte(old), 0o600),
		os.WriteFile(filepath.Join(dir, "new"), []byte(now), 0o600))
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "git", "diff", "--no-index", "--no-color", "--no-ext-diff",
		fmt.Sprintf("-U%d", context), "old", "new")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), plainGit...)
	out, err := cmd.Output()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() > 1 {
		return "", fmt.Errorf("git diff: %w", err)
	}
	_, hunks, _ := bytes.Cut(out, []byte("\n@@"))
	return "@@" + string(hunks), nil
}

// changes returns a table of the declarations that differ between two steps, with the
// number of added and removed lines. Each declaration is compared by itself.
func changes(ctx context.Context, rest string) (language, text string, err error) {
	steps := strings.Fields(rest)
	if len(steps) != 2 {
		return "", "", errors.New("want STEP STEP")
	}
	var all [2][]declaration
	for i, step := range steps {
		if all[i], err = declarations(filepath.Join(step, "main.go")); err != nil {
			return "", "", err
		}
	}
	rows, err := compare(ctx, all[0], all[1])
	if err != nil {
		return "", "", err
	}
	if rows == nil {
		return "", "", errors.New("the two are the same")
	}
	sum := row{name: "in all"}
	for _, r := range rows {
		sum.plus, sum.minus = sum.plus+r.plus, sum.minus+r.minus
	}
	return "text", table(append(rows, sum)), nil
}

type row struct {
	name        string
	plus, minus int
	note        string
}

func compare(ctx context.Context, old, now []declaration) ([]row, error) {
	before, after := make(map[string]string), make(map[string]string)
	var order []string
	for _, d := range now {
		after[d.name] += d.text + d.rest
		order = append(order, d.name)
	}
	place := 0
	for _, d := range old {
		before[d.name] += d.text + d.rest
		if i := slices.Index(order, d.name); i >= 0 {
			place = i + 1
		} else {
			order = slices.Insert(order, place, d.name)
			place++
		}
	}
	var rows []row
	for _, name := range order {
		if before[name] == after[name] {
			continue
		}
		hunks, err := gitDiff(ctx, before[name], after[name], 0)
		if err != nil {
			return nil, err
		}
		r := row{name: name}
		for line := range strings.Lines(hunks) {
			switch line[0] {
			case '+':
				r.plus++
			case '-':
				r.minus++
			}
		}
		switch {
		case before[name] == "":
			r.note = "new"
		case after[name] == "":
			r.note = "gone"
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func table(rows []row) string {
	cells := make([][3]string, len(rows))
	var width [3]int
	for i, r := range rows {
		cells[i][0] = r.name
		if r.plus > 0 {
			cells[i][1] = fmt.Sprintf("+%d", r.plus)
		}
		if r.minus > 0 {
			cells[i][2] = fmt.Sprintf("−%d", r.minus)
		}
		for j, cell := range cells[i] {
			width[j] = max(width[j], utf8.RuneCountInString(cell))
		}
	}
	var out strings.Builder
	for i, c := range cells {
		line := fmt.Sprintf("%-*s %*s %*s   %s", width[0], c[0], width[1], c[1], width[2], c[2], rows[i].note)
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	return out.String()
}
