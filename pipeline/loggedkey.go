package pipeline

import "strings"

// maxLoggedKey is the maximum length in bytes of the text of a key in the log. Kafka allows keys of a megabyte.
const maxLoggedKey = 256

// loggedKey cuts the text of a key for the log. [Pipeline.Resume] accepts what is not cut.
func loggedKey(text string) string {
	if len(text) <= maxLoggedKey {
		return text
	}
	return strings.ToValidUTF8(text[:maxLoggedKey], "") + "..."
}
