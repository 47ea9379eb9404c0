package livetest

import "fmt"

// CheckOutputs checks the outputs of one key, given as the numbers of its messages in the order of the output stream. Each
// message must be there, behind the one before it. After a restart, an earlier one may follow, and then all later ones again.
func CheckOutputs(numbers []int64, produced int64) error {
	next := int64(0)
	for i, n := range numbers {
		if n < 0 || n > next {
			return fmt.Errorf("output %d is of message %d, directly after message %d: messages are missing", i, n, next-1)
		}
		next = n + 1
	}
	if next != produced {
		return fmt.Errorf("the last of %d outputs is of message %d, want message %d", len(numbers), next-1, produced-1)
	}
	return nil
}
