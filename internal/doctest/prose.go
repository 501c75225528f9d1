package doctest

import (
	"regexp"
	"strings"
)

// A proseRule describes a turn of phrase that readers stumble over, such as a
// word-for-word translation, and that a pattern can find.
type proseRule struct {
	find   *regexp.Regexp
	advice string // what to write instead
	bad    string // a text in which the rule finds something
	good   string // one in which it finds nothing
}

// proseRules lists the rules of wording for all documents and programs. A rule must
// be right almost always, because no line can switch it off.
var proseRules = []proseRule{
	{phrase(`START(?:Who|Whoever|Whom) SENTENCE[.!]`),
		"name the subject: a client, a program, a reader",
		"Who is not ready costs nothing.", "An idle client costs no CPU time. Who waits?"},
	{phrase(`START(?:What|Whatever) SENTENCE[.!]`),
		"begin with a noun, or ask a question",
		"What a shell has to read goes to one.", "What is a shell? It reads the command."},
	{phrase(`\b(?:for|to|of|by|from|with) who (?:is|has|was|does|waits|comes|needs|wants|reads)\b`),
		`name the noun: "a client that waits"`,
		"No edge comes for who waits already.", "Queued clients produce no new edge. Nobody knows who waits."},
	{phrase(`(?:[;:] |\b(?:and|but|because|that) )who (?:does not|is not|has not|has no|waits|leaves|comes)\bSENTENCE[.!]`),
		`name the noun: "a client that waits"`,
		"Ready clients cost time, but who is not ready costs none.", "An idle client costs none, and who waits for it?"},
	{phrase(`\b(?:client|server|peer) SENTENCE\b(?:he|his|him)\b`),
		`a client is "it"`,
		"A client gets what he is owed.", "A client gets what it is owed. His bytes are there."},
	{phrase(`(?i)\bin vain\b`),
		"say what the attempt returned",
		"It calls accept(2) in vain.", "It calls accept(2), which fails with EAGAIN."},
	{phrase(`(?i)\bfor ever\b`),
		`"forever", or say when it ends`,
		"It waits for ever.", "It waits forever."},
	{phrase(`(?i)\b(?:anew|afresh|once more)\b`),
		`"again"`,
		"The list is built anew.", "The list is built again."},
	{phrase(`(?i)\bdear(?:er|est|ly)?\b`),
		`"expensive"; "costs more"`,
		"A scan is dear.", "A scan is expensive."},
	{phrase(`(?i)\b(?:say|says|said|saying) so(?:[.,;:?)]| (?:and|but|to|in|too|nearly|again)\b)`),
		"name what is said: logs the error, reports the port",
		"The server says so.", "The server logs the error."},
	{phrase(`(?i)\b(?:what|that|it|this) is so(?: nearly| almost)?(?:[.,;:)]| (?:and|or|but|when|while|until|nearly|always)\b)`),
		"name the fact",
		"That is so nearly always.", "That is almost always true. It is so small that it fits."},
	{phrase(`(?i)\bas (?:long|often) as it is so\b`),
		"name the fact",
		"As long as it is so, it is said again.", "It is reported until the queue is empty."},
	{phrase(`(?i)\bhad been\b`),
		"use the simple past",
		"The limit had been raised.", "Somebody raised the limit."},
	{phrase(`(?i)\b(?:one|two|three|\d+) (?:read|write|call|line|byte|client|time|turn|system call)s? more\b`),
		`"one extra read"`,
		"That costs one read more.", "That costs one extra read."},
	{phrase(`(?i)\bby Ctrl-`),
		`an instrument takes "with"`,
		"End it by Ctrl-C.", "End it with Ctrl-C."},
	{phrase(`(?i)(?:[a-z_0-9]\(\d\)|\b(?:kernel|call|server|loop|socket|listener)) (?:does not |do not )?minds?\b`),
		`calls return, fail or ignore`,
		"close(2) does not mind.", "close(2) ignores the error. Never mind."},
	{phrase(`START(?:To|From|With|At) (?:the|a|an|its|their|each|every) [^.,?!\n]{1,60}, [^.,?!\n]{0,40}\b(?:has|have) (?:come|gone|left)\b`),
		"the subject first",
		"To the listening socket, another connection has come.", "Another connection has come to the listening socket."},
	{phrase(`(?i)\bnobody (?:says|tells|asks)\b`),
		`name the call: "no call reports it"`,
		"Nobody says that the client is gone.", "No call reports that the client is gone."},
}

// phrase compiles what a rule finds. In front, START stands for the beginning of a
// sentence; SENTENCE stands for text up to its end, and a space may be a line end.
func phrase(find string) *regexp.Regexp {
	if rest, ok := strings.CutPrefix(find, "START"); ok {
		find = "START(" + rest + ")" // the sentence alone counts: see func find
	}
	return regexp.MustCompile(strings.NewReplacer(
		"START", `(?:^|\n\n|\n *(?:[-*>]|\d+\.) +|[.!?:]["')*_]*(?: +|\n *))[_"]*`,
		"SENTENCE", `(?:[^.?!|\n]|\n[^.?!|\n])*`,
		" ", `(?: +|\n *)`,
	).Replace(find))
}

// checkProse reports what proseRules find. Comments, fenced blocks and code spans
// are not prose.
func checkProse(_ string, docs []*markdown) (ps []Problem) {
	for _, d := range docs {
		ps = append(ps, d.wording()...)
	}
	return ps
}

// wording reports what proseRules find in the document.
func (d *markdown) wording() (ps []Problem) {
	for _, rule := range proseRules {
		for _, found := range find(rule.find, d.plain()) {
			words := strings.Trim(strings.Join(strings.Fields(found.text), " "), " .:;,")
			ps = append(ps, d.problem(found.line, "%q: %s", words, rule.advice))
		}
	}
	return ps
}
