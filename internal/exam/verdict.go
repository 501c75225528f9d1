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

// IsCannotRun reports whether err is a verdict of CannotRun.
func IsCannotRun(err error) bool {
	var could *cannotRun
	return errors.As(err, &could)
}

// StopExam fails the check and ends the whole exam.
func StopExam(status Status, reason string) error { return &stopGrading{status, reason} }
