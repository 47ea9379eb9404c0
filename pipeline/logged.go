package pipeline

import (
	"fmt"
	"log/slog"
	"strings"
)

// maxLoggedKey is the maximum length in bytes of the text of a key in the log. Kafka allows keys of a megabyte.
const maxLoggedKey = 256

// loggedKey cuts the text of a key for the log. [Pipeline.Resume] accepts what is not cut.
func loggedKey(text string) string {
	if len(text) <= maxLoggedKey {
		return text
	}
	return strings.ToValidUTF8(text[:maxLoggedKey], "") + "..."
}

// maxLoggedError is the maximum length in bytes of the text of a handler's or a sink's error in the log.
const maxLoggedError = 4096

// loggedError returns the attribute of an error in the log. It cuts a long text: an error may quote a whole message.
func loggedError(err error) slog.Attr {
	if text := fmt.Sprint(err); len(text) > maxLoggedError { // not err.Error(), which may panic
		return slog.String("error", strings.ToValidUTF8(text[:maxLoggedError], "")+"...")
	}
	return slog.Any("error", err)
}
