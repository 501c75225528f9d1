package doctest

import (
	"context"
	"fmt"
	"strings"

	"epoll-step-by-step/internal/walk"
)

// walkBlock makes a fenced block with the language walk. It runs the lines that begin
// with "walk> " and replaces all others with the answers, as labBlock does.
func walkBlock(ctx context.Context, rest string) (language, text string, err error) {
	options, transcript, _ := strings.Cut(rest, "\n")
	if options = strings.TrimSpace(options); options != "" {
		return "", "", fmt.Errorf("no such option: %s", options)
	}
	if err := walk.Possible(); err != nil {
		return "", "", missing("walk shows no ready list here: " + err.Error())
	}
	script := walk.Script{Build: walk.Build}
	text, err = script.Replay(ctx, transcript)
	return "walk", text, err
}
