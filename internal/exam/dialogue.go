package exam

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// A Dialogue is what the clients say to a server: a request, sent again and again, and
// the reply that is due to each. For an echo server every byte is a request, and the
// same byte its reply.
//
// If the bytes of the replies are known, the clients compare and count bytes. If they
// are not, as in HTTP with its Date, the clients only look for the end of each reply,
// and count replies. The methods of a [Client] call either a unit.
type Dialogue struct {
	Name string // "echo", "redis", or the request itself

	echo           bool
	request, reply stream
	ending         Ending // how a reply ends if its bytes are not known; else nil
	learn          bool   // the examiner has to learn the reply from the server
	message        int    // requests in a short message
}

// A stream is what a client sends or expects, as an endless sequence of bytes.
type stream struct {
	size int                                   // bytes of one request or reply; of a reply whose bytes are not known, those of the first one
	fill func(p []byte, id uint64, offset int) // fills p with the bytes of client id from offset on
}

// EchoDialogue is the dialogue of an echo server.
var EchoDialogue = &Dialogue{
	Name: "echo", echo: true, request: stream{1, pattern}, reply: stream{1, pattern}, message: PingSize,
}

// IDMark is a part of a request and its reply that differs for each client and each
// request: 16 hexadecimal digits.
const IDMark = "{id}"

const idSize = 16 // bytes that take the place of an IDMark

// NewDialogue returns a dialogue of a request and its reply. Each [IDMark] in them
// stands for the same text.
func NewDialogue(name, request, reply string) (*Dialogue, error) {
	if request == "" || reply == "" {
		return nil, errors.New("a request and its reply need at least one byte each")
	}
	return &Dialogue{Name: name, request: newTemplate(request), reply: newTemplate(reply), message: 1}, nil
}

// NewUnknownDialogue returns a dialogue of a request and replies of which only the end
// can be told.
func NewUnknownDialogue(name, request string, ending Ending) (*Dialogue, error) {
	if request == "" {
		return nil, errors.New("a request needs at least one byte")
	}
	return &Dialogue{Name: name, request: newTemplate(request), reply: stream{size: 1}, ending: ending, message: 1}, nil
}

func newTemplate(text string) stream {
	parts := bytes.Split([]byte(text), []byte(IDMark))
	one := bytes.Join(parts, make([]byte, idSize))
	if len(parts) == 1 {
		return stream{len(one), func(p []byte, _ uint64, offset int) {
			for at := offset % len(one); len(p) > 0; at = 0 {
				p = p[copy(p, one[at:]):]
			}
		}}
	}
	return stream{len(one), func(p []byte, id uint64, offset int) {
		for len(p) > 0 {
			n := copy(p, bytes.Join(parts, idText(id, offset/len(one)))[offset%len(one):])
			p, offset = p[n:], offset+n
		}
	}}
}

// idText takes the place of each [IDMark] in a client's i-th request.
func idText(id uint64, i int) []byte { return fmt.Appendf(nil, "%0*x", idSize, number(id, i)) }

// IsEcho reports whether the server returns whatever it gets.
func (d *Dialogue) IsEcho() bool { return d.echo }

// Distinct reports whether a reply to one client differs from those to others.
func (d *Dialogue) Distinct() bool {
	if d.ending != nil {
		return false
	}
	a, b := make([]byte, d.reply.size), make([]byte, d.reply.size)
	d.reply.fill(a, 1, 0)
	d.reply.fill(b, 2, 0)
	return d.IsEcho() || !bytes.Equal(a, b)
}

// Message describes a short message: "16 bytes", or the request.
func (d *Dialogue) Message() string {
	if d.IsEcho() {
		return fmt.Sprint(PingSize, " bytes")
	}
	return Quote(d.one())
}

// Due describes the reply to a short message, or is "" if its bytes are not known.
func (d *Dialogue) Due() string {
	if d.ending != nil {
		return ""
	}
	p := make([]byte, d.reply.size)
	d.reply.fill(p, 0, 0)
	return Quote(p)
}

// one returns a request.
func (d *Dialogue) one() []byte {
	p := make([]byte, d.request.size)
	d.request.fill(p, 0, 0)
	return p
}

// MessageSize returns the bytes of a short message.
func (d *Dialogue) MessageSize() int { return d.message * d.request.size }

// QuotedBytes is the length up to which an explanation quotes a message. Of a longer one
// it quotes the beginning.
const QuotedBytes = 48

// Quote returns bytes as a Go string, of which a long one is cut.
func Quote(p []byte) string {
	if len(p) <= QuotedBytes {
		return strconv.Quote(string(p))
	}
	return fmt.Sprintf("%q … (%d bytes)", p[:QuotedBytes], len(p))
}

// progress describes how many of n units have come: "12 of 16 bytes", "1 of 3 replies".
func (d *Dialogue) progress(got, n int) string {
	if d.echo {
		return fmt.Sprintf("%d of %s", got, Plural(n, "byte", "bytes"))
	}
	size := 1
	if d.ending == nil {
		size = d.reply.size
	}
	text := fmt.Sprintf("%d of %s", got/size, Plural(n/size, "reply", "replies"))
	if more := got % size; more > 0 {
		text += fmt.Sprintf(" and %s of the next", Plural(more, "byte", "bytes"))
	}
	return text
}

// Asking returns how many bytes of requests have replies of at least n bytes.
func (d *Dialogue) Asking(n int) int {
	return (n + d.reply.size - 1) / d.reply.size * d.request.size
}

// whole returns the least number of bytes, but at least n, that is a whole number of
// requests.
func (d *Dialogue) whole(n int) int {
	return (n + d.request.size - 1) / d.request.size * d.request.size
}

// due returns how many units are due for the first n bytes of requests.
func (d *Dialogue) due(n int) int {
	if n /= d.request.size; d.ending != nil {
		return n
	}
	return n * d.reply.size
}

// asked is the reverse of due: how many bytes of requests the units answer.
func (d *Dialogue) asked(units int) int {
	if d.ending == nil {
		units /= d.reply.size
	}
	return units * d.request.size
}
