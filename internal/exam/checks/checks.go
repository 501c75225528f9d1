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
var All = []exam.Check{
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
