// Package checks lists the checks of the examiner.
package checks

import (
	"fmt"
	"slices"
	"strings"

	"epoll-step-by-step/internal/exam"
	"epoll-step-by-step/internal/exam/made"
	"epoll-step-by-step/internal/exam/owed"
	"epoll-step-by-step/internal/exam/tasks"
)

// All is every check, in the order in which they are run.
var All = withCauses([]exam.Check{
	owed.NoReply,
	owed.WrongBytes,
	owed.OneReplyPerRead,
	owed.OneAtATime,
	owed.LostBytes,
	owed.StuckWriter,
	owed.UnboundedBuffer,
	owed.SlowReaderBlocks,
	owed.HalfCloseLost,
	owed.DiedOnReset,
	owed.DiedOutOfFDs,
	owed.SpinsOutOfFDs,
	owed.DeafAfterOutOfFDs,
	owed.BusyLoop,
	owed.Starved,
	owed.AcceptLost,
	owed.DiedOnSignal,
	owed.FDLeak,
	owed.CrossedWires,
	owed.IgnoresSIGTERM,
	owed.PortStuck,
	owed.EdgeLost,

	made.BlockingFD,
	made.NotEpoll,
	made.NotLevel,
	made.NotEdge,
	made.EpolloutAlwaysArmed,
	made.ManyThreads,

	tasks.SplitLine,
	tasks.NeverTimesOut,
	tasks.OneReadTooMany,
	tasks.DroppedOnTerm,
	tasks.OneCore,
	tasks.WorkerLost,
	tasks.LeftBehind,
	tasks.ChatLostLine,
	tasks.ChatWrongName,
	tasks.ChatCrowd,
	tasks.ChatSlowReader,
	tasks.RedisWrongReply,
	tasks.RedisSplit,
	tasks.RedisProtocolError,
	tasks.RedisUnreadReplies,
	tasks.RedisManyWrites,
	tasks.RedisTools,
})

// followsFrom has the checks whose failure usually explains that of another one: the
// first of them that has failed does. The report begins with such a check.
var followsFrom = map[string][]string{
	"WRONG_BYTES":           {"NO_REPLY"},
	"LOST_BYTES":            {"NO_REPLY", "ONE_REPLY_PER_READ"},
	"STUCK_WRITER":          {"ONE_REPLY_PER_READ", "LOST_BYTES", "NO_REPLY"},
	"SLOW_READER_BLOCKS":    {"BLOCKING_FD", "ONE_AT_A_TIME"},
	"HALF_CLOSE_LOST":       {"ONE_REPLY_PER_READ", "LOST_BYTES", "NO_REPLY"},
	"DEAF_AFTER_OUT_OF_FDS": {"ACCEPT_LOST", "DIED_OUT_OF_FDS", "FD_LEAK", "ONE_AT_A_TIME"},
	"BUSY_LOOP":             {"EPOLLOUT_ALWAYS_ARMED"},
	"STARVED":               {"ONE_AT_A_TIME", "ONE_REPLY_PER_READ"},
	"ACCEPT_LOST":           {"ONE_AT_A_TIME"},
	"FD_LEAK":               {"DIED_ON_RESET", "HALF_CLOSE_LOST", "LOST_BYTES"},
	"CROSSED_WIRES":         {"DIED_ON_RESET"},
	"EDGE_LOST":             {"ONE_REPLY_PER_READ", "LOST_BYTES", "NO_REPLY"},
	"MANY_THREADS":          {"ONE_REPLY_PER_READ", "NO_REPLY", "LOST_BYTES"}, // which cannot be run then
}

func withCauses(all []exam.Check) []exam.Check {
	for i := range all {
		all[i].FollowsFrom = followsFrom[all[i].ID]
	}
	return all
}

// IDs returns the ID of each check, in the order of All.
func IDs() []string {
	var ids []string
	for _, c := range All {
		ids = append(ids, c.ID)
	}
	return ids
}

// Select is SelectFor an echo server.
func Select(profile exam.Profile, only ...string) ([]exam.Check, error) {
	return SelectFor(exam.EchoDialogue, profile, only...)
}

// SelectFor returns the checks with the IDs in only, or if there are none, those that
// a server of the profile has to pass that speaks the dialogue; in the order of All. It
// fails if only has an unknown ID.
func SelectFor(d *exam.Dialogue, profile exam.Profile, only ...string) ([]exam.Check, error) {
	ids := IDs()
	for _, id := range only {
		if !slices.Contains(ids, id) {
			return nil, fmt.Errorf("there is no check %q; there are %s", id, strings.Join(ids, " "))
		}
	}
	if profile == "" {
		profile = exam.Echo
	}
	var selected []exam.Check
	for _, c := range All {
		due := slices.Contains(c.For, profile) && !(c.NotEcho && d.IsEcho())
		if len(only) == 0 && due || slices.Contains(only, c.ID) {
			selected = append(selected, c)
		}
	}
	return selected, nil
}
