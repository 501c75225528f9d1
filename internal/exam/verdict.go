package exam

import "errors"

// ErrFailed fails a check; the session's notes say why. Any other error that is
// not one of the verdicts below fails it as well, and is printed.
var ErrFailed = errors.New("failed")

type (
	skip        struct{ reason string }
	cannotRun   struct{ reason string }
	stopGrading struct {
		status Status
		reason string
	}
)

func (e *skip) Error() string        { return e.reason }
func (e *cannotRun) Error() string   { return e.reason }
func (e *stopGrading) Error() string { return e.reason }

// SkipCheck is the verdict that a check does not apply.
func SkipCheck(reason string) error { return &skip{reason} }

// CannotRun is the verdict that a check could not be run.
func CannotRun(reason string) error { return &cannotRun{reason} }

// NotPrepared is the verdict that a check could not be run because a client that it
// needs was not served. A check returns it for what comes before its question: the
// failure belongs to another check. An error that is a verdict already stays as it is.
func NotPrepared(err error) error {
	var skipped *skip
	var cannot *cannotRun
	var stop *stopGrading
	if err == nil || errors.As(err, &skipped) || errors.As(err, &cannot) || errors.As(err, &stop) {
		return err
	}
	switch err {
	case ErrFailed:
		return &cannotRun{"a client that it needs first was not served as the checks above expect"}
	case ErrSilence:
		return &cannotRun{"a client that it needs first got no answer"}
	}
	return &cannotRun{"a client that it needs first was not served: " + err.Error()}
}

// IsCannotRun reports whether err is a verdict of CannotRun.
func IsCannotRun(err error) bool {
	var could *cannotRun
	return errors.As(err, &could)
}

// StopExam fails the check and ends the whole exam.
func StopExam(status Status, reason string) error { return &stopGrading{status, reason} }
