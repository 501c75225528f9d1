package exercises

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/checks"
)

// An exercise is a folder NN-name. Its README describes it completely.
type exercise struct {
	Name    string // of the folder: 07-half-close
	Number  int
	Title   string
	Step    int    // the step whose program it changes; 0 if it belongs to all
	Chapter string // the link in the README's table

	MustNotFail []string // IDs that the starter fails; the first is the subject of the exercise
	As          exam.Profile
	GradedBy    []string // IDs, in the order of the examiner
	Minutes     int
	Hints       []hint

	root   string // of the repository
	readme string // its text
}

type hint struct{ Title, Text string }

// path names a file of the exercise as the learner sees it: relative to the root.
func (e *exercise) path(file string) string { return filepath.Join("exercises", e.Name, file) }

func (e *exercise) file(name string) string { return filepath.Join(e.root, e.path(name)) }

func (e *exercise) read(file string) ([]byte, error) { return os.ReadFile(e.file(file)) }

// program names the learner's program. That is the starter until main.go exists.
func (e *exercise) program() string {
	if _, err := os.Lstat(e.file("main.go")); errors.Is(err, fs.ErrNotExist) {
		return "starter/main.go"
	}
	return "main.go"
}

// N names the exercise in a make command.
func (e *exercise) N() string { return fmt.Sprintf("N=%02d", e.Number) }

// findRoot looks for the repository here and in the folders above.
func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		_, mod := os.Stat(filepath.Join(at, "go.mod"))
		_, exercises := os.Stat(filepath.Join(at, "exercises"))
		if mod == nil && exercises == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("%s is outside the repository: neither it nor a folder above it has a go.mod and a folder exercises", dir)
		}
	}
}

var folderName = regexp.MustCompile(`^(\d\d)-[a-z0-9-]+$`)

// load reads all exercises. It reports those that it cannot read and keeps the
// others.
func (s *session) load() error {
	entries, err := os.ReadDir(filepath.Join(s.root, "exercises"))
	if err != nil {
		return err
	}
	var problems []error
	for _, entry := range entries {
		if !entry.IsDir() || !folderName.MatchString(entry.Name()) {
			continue
		}
		e, err := loadExercise(s.root, entry.Name())
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", e.path("README.md"), err))
			continue
		}
		s.exercises = append(s.exercises, e)
	}
	return errors.Join(problems...)
}

func loadExercise(root, name string) (*exercise, error) {
	e := &exercise{Name: name, root: root}
	e.Number, _ = strconv.Atoi(name[:2])
	text, err := e.read("README.md")
	if err != nil {
		return e, err
	}
	e.readme = string(text)
	return e, e.parse()
}

var (
	titleLine = regexp.MustCompile(`^# (\d\d) · (.+)`)
	tableHead = regexp.MustCompile(`(?m)^\| after \| must not fail \| graded as \| graded by \| minutes \|\n\|[-|: ]+\|\n\|(.+)\|$`)
	linkTo    = regexp.MustCompile(`\]\(([^)]+)\)`)
	stepName  = regexp.MustCompile(`step (\d)\b`)
	codeSpan  = regexp.MustCompile("`([^`]+)`")
	details   = regexp.MustCompile(`(?s)<details>\s*<summary>Hint (\d): (.*?)</summary>(.*?)</details>`)
)

// parse reads the title, the table and the hints of the README.
func (e *exercise) parse() error {
	title := titleLine.FindStringSubmatch(e.readme)
	if title == nil || title[1] != e.Name[:2] {
		return fmt.Errorf("the first line is not \"# %s · TITLE\"", e.Name[:2])
	}
	e.Title = strings.TrimSpace(title[2])
	table := tableHead.FindStringSubmatch(e.readme)
	if table == nil {
		return errors.New("no table | after | must not fail | graded as | graded by | minutes | with one row")
	}
	cells := strings.Split(table[1], "|")
	if len(cells) != 5 {
		return fmt.Errorf("the table's row has %d cells, want 5", len(cells))
	}
	if m := linkTo.FindStringSubmatch(cells[0]); m != nil {
		e.Chapter = m[1]
	}
	if m := stepName.FindStringSubmatch(cells[0]); m != nil {
		e.Step, _ = strconv.Atoi(m[1])
	}
	e.MustNotFail, e.GradedBy = codes(cells[1]), codes(cells[3])
	as := codes(cells[2])
	if len(as) != 1 || !slices.Contains(exam.Profiles, exam.Profile(as[0])) {
		return fmt.Errorf("graded as %s: want one of %v, in backquotes", cells[2], exam.Profiles)
	}
	e.As = exam.Profile(as[0])
	var err error
	if e.Minutes, err = strconv.Atoi(strings.TrimSpace(cells[4])); err != nil {
		return fmt.Errorf("minutes: %w", err)
	}
	if len(e.GradedBy) == 0 {
		return errors.New("graded by: want the `ID` of at least one check")
	}
	if _, err := checks.Select(e.As, e.GradedBy...); err != nil {
		return fmt.Errorf("graded by: %w", err)
	}
	for _, id := range e.MustNotFail {
		if !slices.Contains(e.GradedBy, id) {
			return fmt.Errorf("%s is in \"must not fail\" but not in \"graded by\"", id)
		}
	}
	for i, m := range details.FindAllStringSubmatch(e.readme, -1) {
		if m[1] != strconv.Itoa(i+1) {
			return fmt.Errorf("hint %s stands in place %d", m[1], i+1)
		}
		e.Hints = append(e.Hints, hint{strings.TrimSpace(m[2]), strings.TrimSpace(m[3])})
	}
	return nil
}

// codes returns the texts between backquotes.
func codes(cell string) []string {
	var list []string
	for _, m := range codeSpan.FindAllStringSubmatch(cell, -1) {
		list = append(list, m[1])
	}
	return list
}

// find accepts 7, 07, 07-half-close, half-close, and the path of the folder.
func (s *session) find(text string) (*exercise, error) {
	name := filepath.Base(text)
	n, err := strconv.Atoi(name)
	isNumber := err == nil
	var nearest *exercise
	for _, e := range s.exercises {
		if isNumber && n == e.Number || name == e.Name || name == e.Name[3:] {
			return e, nil
		}
		if nearest == nil || max(n-e.Number, e.Number-n) < max(n-nearest.Number, nearest.Number-n) {
			nearest = e
		}
	}
	if isNumber {
		return nil, fmt.Errorf("there is no exercise %d; the nearest is %s, and \"make exercises\" lists them all", n, nearest.Name)
	}
	return nil, fmt.Errorf("there is no exercise %q: say its number, for example %s; \"make exercises\" lists them all", text, nearest.N())
}

// next returns the first exercise after e that has not passed. Behind the last
// exercise it continues with the first. It returns nil if all but e have passed.
func (s *session) next(e *exercise) *exercise {
	records, _ := s.records()
	at := slices.Index(s.exercises, e) + 1 // 0 if e is nil
	for _, other := range slices.Concat(s.exercises[at:], s.exercises[:at]) {
		if other != e && other.state(records[other.Name]) != passedState {
			return other
		}
	}
	return nil
}

// commandFor returns the command that grades e.
func (s *session) commandFor(e *exercise) string {
	if e == nil {
		return ""
	}
	return fmt.Sprintf("make exercise %s  (%s)", e.N(), e.Title)
}
