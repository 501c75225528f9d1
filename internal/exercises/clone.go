package exercises

import (
	"bytes"
	"encoding/binary"
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

// tracked names the first main.go that git tracks in this clone, if any. It reads
// the index, because git need not be installed: gitformat-index(5). An entry ends
// with its stage, which is not 0 in a conflict, the length of the name, the name,
// and a zero byte. Version 4 shortens names, and nothing is found.
func (s *session) tracked() string {
	index, err := os.ReadFile(filepath.Join(s.gitFolder(), "index"))
	if err != nil {
		return ""
	}
	for _, e := range s.exercises {
		name := e.path("main.go")
		for stage := range 4 {
			if bytes.Contains(index, indexEntry(stage, name)) {
				return name
			}
		}
	}
	return ""
}

// indexEntry returns the end of an entry of the index.
func indexEntry(stage int, name string) []byte {
	end := binary.BigEndian.AppendUint16(nil, uint16(stage<<12|len(name)))
	return append(end, name+"\x00"...)
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
