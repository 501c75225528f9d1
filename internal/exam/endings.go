package exam

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// An Ending finds the end of a reply whose bytes are not known. It returns the length of
// the first reply in p, or 0 if more bytes have to come. It fails if p cannot be the
// beginning of a reply.
type Ending func(p []byte) (int, error)

// longestReply is the most bytes that are kept while the end of a reply has not come.
const longestReply = 16 << 20

// EndsWith is the ending of replies that end in a text, such as "\r\n".
func EndsWith(text string) Ending {
	return func(p []byte) (int, error) {
		i := bytes.Index(p, []byte(text))
		if i < 0 {
			return 0, nil
		}
		return i + len(text), nil
	}
}

// EndsAfter is the ending of replies of n bytes.
func EndsAfter(n int) Ending {
	return func(p []byte) (int, error) {
		if len(p) < n {
			return 0, nil
		}
		return n, nil
	}
}

// Like is the ending of replies that a regular expression matches from their first byte
// on. If ending is nil, the match is the reply; otherwise the reply that it finds has to
// match as a whole.
func Like(expression string, ending Ending) (Ending, error) {
	re, err := regexp.Compile(`^(?s:` + expression + `)`)
	if err == nil && re.MatchString("") {
		err = errors.New("it matches a reply without a byte")
	}
	if err != nil {
		return nil, err
	}
	return func(p []byte) (int, error) {
		if ending == nil {
			if at := re.FindIndex(p); at != nil {
				return at[1], nil
			}
			return 0, nil
		}
		n, err := ending(p)
		if n > 0 {
			if at := re.FindIndex(p[:n]); at == nil || at[1] != n {
				return 0, fmt.Errorf("%s, which does not match", Quote(p[:n]))
			}
		}
		return n, err
	}, nil
}

// EndsAsHTTP is the ending of HTTP responses that have a Content-Length or are chunked.
func EndsAsHTTP(p []byte) (int, error) {
	const begin = "HTTP/1."
	if !strings.HasPrefix(string(p[:min(len(p), len(begin))]), begin[:min(len(p), len(begin))]) {
		return 0, fmt.Errorf("%s, which is no HTTP/1 response", Quote(p))
	}
	head, body, found := bytes.Cut(p, []byte("\r\n\r\n"))
	if !found {
		return 0, nil
	}
	size, chunked := -1, false
	for _, line := range strings.Split(string(head), "\r\n")[1:] {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch strings.ToLower(name) {
		case "content-length":
			n, err := strconv.Atoi(value)
			if err != nil || n < 0 {
				return 0, fmt.Errorf("Content-Length: %s", value)
			}
			size = n
		case "transfer-encoding":
			chunked = strings.EqualFold(value, "chunked")
		case "connection":
			if strings.EqualFold(value, "close") {
				return 0, errors.New("Connection: close, but the examiner needs connections that stay open")
			}
		}
	}
	before := len(p) - len(body)
	switch {
	case chunked:
		n, err := chunks(body)
		if n == 0 || err != nil {
			return 0, err
		}
		return before + n, nil
	case size < 0:
		return 0, errors.New("a response without a Content-Length: its end cannot be told")
	case len(body) < size:
		return 0, nil
	}
	return before + size, nil
}

// chunks returns the length of a chunked body, or 0 if it has not come wholly.
func chunks(body []byte) (n int, err error) {
	for {
		line, _, found := bytes.Cut(body[n:], []byte("\r\n"))
		if !found {
			return 0, nil
		}
		digits, _, _ := strings.Cut(string(line), ";")
		size, err := strconv.ParseUint(strings.TrimSpace(digits), 16, 31)
		if err != nil {
			return 0, fmt.Errorf("a chunk of %q bytes", digits)
		}
		n += len(line) + len("\r\n") + int(size) + len("\r\n")
		if n > len(body) {
			return 0, nil
		}
		if size == 0 {
			return n, nil
		}
	}
}
