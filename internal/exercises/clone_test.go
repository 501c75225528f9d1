package exercises

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// gitIn runs a shell script in a folder, as a user without a configuration.
func gitIn(t *testing.T, folder, script string) (output string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = folder
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C",
		"GIT_AUTHOR_NAME=Ada", "GIT_AUTHOR_EMAIL=ada@example.com",
		"GIT_COMMITTER_NAME=Ada", "GIT_COMMITTER_EMAIL=ada@example.com")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func mustGit(t *testing.T, folder, script string) string {
	t.Helper()
	out, err := gitIn(t, folder, script)
	if err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return out
}

// In an older clone, git tracks main.go. The update that ends this must not lose
// the learner's text, whatever the learner did before.
func TestUpdateOfOlderClone(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("git is not installed")
	}
	const pull = "git pull --no-rebase --no-edit"
	for _, tt := range []struct {
		name   string
		text   string // of main.go before the update
		before string // commands of the learner
		ends   string // of the text after them: in main.go, or nowhere because it is the starter
	}{
		{"unchanged", fakeStarter, pull, ""},
		{"advice first", fakeSolution, untrack + " && " + pull, fakeSolution},
		{"committed, advice first", fakeSolution, "git commit -qam solved && " + untrack + " && " + pull, fakeSolution},
		{"pull refused", fakeSolution, "! " + pull + " && " + untrack + " && " + pull, fakeSolution},
		{"conflict", fakeSolution, "git commit -qam solved && ! " + pull + " && " + untrack, fakeSolution},
		{"stash", fakeSolution, "git stash -q && " + pull + " && ! git stash pop && { " + untrack + " || true; }", fakeSolution},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			for _, name := range []string{"02-die", "05-die-again"} {
				f.write("exercises/"+name+"/main.go", fakeStarter)
			}
			mustGit(t, f.root, "git init -q && git add . && git commit -qm old")
			clone := fake{t, filepath.Join(t.TempDir(), "clone")}
			mustGit(t, f.root, "git clone -q . '"+clone.root+"'")
			f.write(".gitignore", "/exercises/*/main.go\n")
			mustGit(t, f.root, "git rm -q --cached exercises/*/main.go && git add . && git commit -qm new")

			clone.write(mine, tt.text)
			clone.expect(0, "list", "git tracks "+mine, untrack)
			out := mustGit(t, clone.root, tt.before)
			if tt.ends != "" && clone.read(mine) != tt.ends {
				t.Errorf("main.go has another text after\n%s", out)
			}
			if status := mustGit(t, clone.root, "git status --porcelain"); status != "" {
				t.Errorf("git status reports\n%safter\n%s", status, out)
			}
			if now := clone.run(0, "list"); strings.Contains(now, "git tracks") {
				t.Errorf("git tracks main.go after\n%s\n%s", out, now)
			}
			if tt.ends == "" {
				clone.expect(1, "check 2", mine+" is yours now", "This failure is expected")
			}
		})
	}
}

// While git waits for a conflict to be resolved, every grading says what to do.
func TestConflictIsExplained(t *testing.T) {
	t.Parallel()
	f := newFake(t)
	f.write(mine, fakeSolution)
	f.write(".git/index", string(indexEntry(1, mine)))
	if out := f.run(0, "check", "2"); strings.Contains(out, "git tracks") {
		t.Errorf("without a conflict, check warns:\n%s", out)
	}
	f.write(".git/MERGE_HEAD", "")
	f.expect(0, "check 2", "git tracks "+mine, untrack, "Passed.")
	f.write("elsewhere/index", string(indexEntry(0, mine)))
	f.expect(0, "list", "git tracks "+mine)
	os.RemoveAll(filepath.Join(f.root, ".git"))
	f.write(".git", "gitdir: elsewhere\n")
	f.expect(0, "list", "git tracks "+mine)
}

func TestUpdateIsDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "exercises/README.md"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(untrack)) {
		t.Errorf("exercises/README.md does not have the command\n%s", untrack)
	}
}
