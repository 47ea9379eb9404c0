package pulsartest

import (
	"errors"
	"fmt"
	"net/http"
)

// statusError is an answer other than 2xx.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return fmt.Sprintf("status %d: %s", e.status, e.text) }

// statusOf returns the status in an error, 0 if there is none.
func statusOf(err error) int {
	if s, ok := errors.AsType[*statusError](err); ok {
		return s.status
	}
	return 0
}

// IsFault reports whether the broker has failed, rather than refused the request.
func IsFault(err error) bool { return statusOf(err) >= http.StatusInternalServerError }
