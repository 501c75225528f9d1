package exercises

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// A record holds the facts about an exercise that its files do not show.
// exercises/.progress has the records by the folder's name.
type record struct {
	Hints  int    `json:"hints,omitempty"`  // the number of those shown
	Passed string `json:"passed,omitempty"` // hash of the program that passed last
}

// A state is how far the learner is with an exercise.
type state string

const (
	notBegun     state = "not begun" // main.go does not exist or equals the starter
	begun        state = "begun"
	passedState  state = "passed"
	changedState state = "passed, changed since"
)

func (e *exercise) state(r record) state {
	text, err := e.read(e.program())
	switch {
	case err == nil && r.Passed == hash(text):
		return passedState
	case e.untouched():
		return notBegun
	case r.Passed != "":
		return changedState
	}
	return begun
}

// untouched tells whether the learner's program is still the starter.
func (e *exercise) untouched() bool {
	if e.program() != "main.go" {
		return true
	}
	mine, err := e.read("main.go")
	starter, err2 := e.read("starter/main.go")
	return err == nil && err2 == nil && bytes.Equal(mine, starter)
}

func hash(text []byte) string { return fmt.Sprintf("%x", sha256.Sum256(text)) }

func (s *session) progressFile() string { return filepath.Join(s.root, "exercises", ".progress") }

func (s *session) records() (map[string]record, error) {
	records := make(map[string]record)
	text, err := os.ReadFile(s.progressFile())
	if errors.Is(err, fs.ErrNotExist) {
		return records, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &records)
	}
	if err != nil {
		return nil, fmt.Errorf("exercises/.progress cannot be read (%w): repair it, or delete it to start with no exercise passed", err)
	}
	return records, nil
}

// note changes the record of an exercise.
func (s *session) note(e *exercise, change func(*record)) error {
	records, err := s.records()
	if err != nil {
		return err
	}
	r := records[e.Name]
	change(&r)
	records[e.Name] = r
	text, err := json.MarshalIndent(records, "", "  ")
	if err != nil {
		return err
	}
	return replace(s.progressFile(), append(text, '\n'))
}

// replace writes a new file and renames it to the old one's name, because a
// reader must never find half a file.
func replace(file string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
