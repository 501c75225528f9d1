package doctest

import (
	"context"
	"fmt"
	"strings"

	"epoll-step-by-step/internal/lab"
)

// labBlock makes a fenced block with the language lab. It runs the lines that
// begin with "lab> " and replaces all others with the lab's answers. Such a block
// needs no directive because it is its own script.
func labBlock(ctx context.Context, rest string) (language, text string, err error) {
	options, transcript, _ := strings.Cut(rest, "\n")
	if options = strings.TrimSpace(options); options != "" && options != numbersVary {
		return "", "", fmt.Errorf("no such option: %s", options)
	}
	text, err = lab.Replay(ctx, transcript)
	return strings.TrimSpace("lab " + options), text, err
}
