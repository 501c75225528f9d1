package exercises

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// untrack ends that git tracks main.go, and leaves all files as they are. It works
// before an update, during its conflict, and after it.
const untrack = `git rm --cached -q --ignore-unmatch exercises/*/main.go && git commit -m "main.go is mine"`

// warnOfGit tells a learner what to do if git tracks a main.go. It does so in
// older clones, where the update that ends it conflicts with the learner's text.
func (s *session) warnOfGit(out io.Writer) {
	if name := s.tracked(); name != "" {
		fmt.Fprintf(out, "\ngit tracks %s. Unless you want this, type (it keeps your text):\n  %s\n\n", name, untrack)
	}
}

// tracked names the first main.go that git tracks in this clone, if any. It
// searches the index for the name, because git need not be installed. The
// index, gitformat-index(5), contains each name in full up to version 3 and
// ends it with a zero byte.
func (s *session) tracked() string {
	index, err := os.ReadFile(filepath.Join(s.gitFolder(), "index"))
	if err != nil {
		return ""
	}
	for _, e := range s.exercises {
		if name := e.path("main.go"); bytes.Contains(index, []byte(name+"\x00")) {
			return name
		}
	}
	return ""
}

// isMerging tells whether git waits for a conflict to be resolved.
func (s *session) isMerging() bool {
	_, err := os.Stat(filepath.Join(s.gitFolder(), "MERGE_HEAD"))
	return err == nil
}

// gitFolder returns .git, or the folder that .git names if it is a file, as in
// a worktree: gitrepository-layout(5).
func (s *session) gitFolder() string {
	folder := filepath.Join(s.root, ".git")
	text, err := os.ReadFile(folder)
	if err != nil {
		return folder
	}
	folder = strings.TrimSpace(strings.TrimPrefix(string(text), "gitdir:"))
	if !filepath.IsAbs(folder) {
		folder = filepath.Join(s.root, folder)
	}
	return folder
}
