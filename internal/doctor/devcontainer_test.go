package doctor

import (
	"encoding/json"
	"go/version"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func readRepositoryFile(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../..", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var goVersion = regexp.MustCompile(`(?m)^(?:FROM golang:|go )(\d+\.\d+)`)

// The image is built without the repository, so the Dockerfile repeats the list of
// packages.
func TestDockerfile(t *testing.T) {
	text := readRepositoryFile(t, ".devcontainer/Dockerfile")
	_, line, _ := strings.Cut(text, "apt-get install")
	line, _, _ = strings.Cut(line, "&&")
	var got []string
	for _, word := range strings.Fields(line) {
		if name := regexp.MustCompile(`^[a-z][a-z0-9+.-]+$`); name.MatchString(word) {
			got = append(got, word)
		}
	}
	want := []string{"less", "tmux"} // install does not install them
	for _, tool := range tools {
		if tool.packages != "" {
			want = append(want, strings.Fields(tool.packages)[0])
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if want = slices.Compact(want); !slices.Equal(got, want) {
		t.Errorf("the Dockerfile installs\n%s\nwant the packages of make setup, less and tmux\n%s", got, want)
	}
	image, module := goVersion.FindStringSubmatch(text), goVersion.FindStringSubmatch(readRepositoryFile(t, "go.mod"))
	if image == nil || module == nil || version.Compare("go"+image[1], "go"+module[1]) < 0 {
		t.Errorf("the Dockerfile has Go %v, but go.mod requires %v", image, module)
	}
}

// An editor and a reader who follows the README start the container with the same rights
// and limits.
func TestDevcontainer(t *testing.T) {
	var config struct {
		Build           struct{ Dockerfile string }
		CapAdd, RunArgs []string
	}
	if err := json.Unmarshal([]byte(readRepositoryFile(t, ".devcontainer/devcontainer.json")), &config); err != nil {
		t.Fatal(err)
	}
	if config.Build.Dockerfile != "Dockerfile" || !slices.Contains(config.CapAdd, "SYS_PTRACE") {
		t.Errorf("got %+v, want the Dockerfile and SYS_PTRACE", config)
	}
	readme := readRepositoryFile(t, "README.md")
	mustHave(t, "README.md", readme, "docker build -t epoll .devcontainer\n", "--cap-add SYS_PTRACE")
	for what, text := range map[string]string{
		"devcontainer.json": strings.Join(config.RunArgs, " "), "README.md": readme,
	} {
		m := regexp.MustCompile(`--ulimit nofile=(\d+):(\d+)`).FindStringSubmatch(text)
		if m == nil {
			t.Errorf("%s: no --ulimit nofile=SOFT:HARD", what)
		} else if hard, _ := strconv.Atoi(m[2]); hard < wantHard {
			t.Errorf("%s: %d descriptors, want at least %d", what, hard, wantHard)
		}
	}
}
