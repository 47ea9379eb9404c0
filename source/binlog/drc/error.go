package drc

import (
	"encoding/json"
	"net/http"
)

// Error is an error that the service sends: as the body of an HTTP response, or as the last line of a stream.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Table and Checkpoint are those that the error is about. Table is empty if the checkpoint was for all tables.
	Table      string `json:"table,omitempty"`
	Checkpoint string `json:"checkpoint,omitempty"`
	// Oldest and End are the first and the last checkpoint of the topic.
	Oldest string `json:"oldest,omitempty"`
	End    string `json:"end,omitempty"`
}

// Code is the kind of an [Error].
type Code string

// The codes of errors.
const (
	BadRequest        Code = "bad_request"
	UnknownTopic      Code = "unknown_topic"
	UnknownSubscriber Code = "unknown_subscriber" // it never was there, has left, or has timed out
	Foreign           Code = "foreign"            // the checkpoint is from another log
	Ahead             Code = "ahead"              // the checkpoint is ahead of the log's end
	Gone              Code = "gone"               // the checkpoint is older than the oldest one
)

// Error returns the message.
func (e *Error) Error() string { return e.Message }

func (e *Error) status() int {
	switch e.Code {
	case UnknownTopic, UnknownSubscriber:
		return http.StatusNotFound
	case Foreign, Ahead:
		return http.StatusConflict
	case Gone:
		return http.StatusGone
	default:
		return http.StatusBadRequest
	}
}

// write sends the error as an HTTP response.
func (e *Error) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(e.status())
	_ = json.NewEncoder(w).Encode(Record{Type: Failure, Error: e}) // an error is the client's, who has gone
}
