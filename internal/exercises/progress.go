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

// A record is what must be remembered about an exercise; all else is seen from
// its files. exercises/.progress has one for each, by the folder's name.
type record struct {
	Hints  int    `json:"hints,omitempty"`  // how many were shown
	Passed string `json:"passed,omitempty"` // hash of the main.go that passed last
}

// A state is how far the learner is with an exercise.
type state string

const (
	notBegun     state = "not begun" // main.go is still the starter
	begun        state = "begun"
	passedState  state = "passed"
	changedState state = "passed, changed since"
	missing      state = "main.go is missing"
)

func (e *exercise) state(r record) state {
	mine, err := e.read("main.go")
	switch {
	case err != nil:
		return missing
	case r.Passed == hash(mine):
		return passedState
	case r.Passed != "":
		return changedState
	case e.untouched():
		return notBegun
	}
	return begun
}

// untouched tells whether main.go is as it came.
func (e *exercise) untouched() bool {
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
		return nil, fmt.Errorf("exercises/.progress cannot be read (%w): repair it, or delete it to count from zero", err)
	}
	return records, nil
}

// note changes the record of an exercise. The file is replaced at once, so
// that nobody ever sees the half of it.
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

// replace writes a file beside the old one and puts it in its place.
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
