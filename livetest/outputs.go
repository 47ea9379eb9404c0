package livetest

import "fmt"

// CheckOutputs looks at what stands in the stream of the outputs for one key: the numbers of its messages in the order of
// the stream. Each output is there, and each stands behind that of the message before. Some may stand there several times:
// a restart begins again at an earlier one, and then all later ones come again behind it.
func CheckOutputs(numbers []int64, produced int64) error {
	next := int64(0)
	for i, n := range numbers {
		if n < 0 || n > next {
			return fmt.Errorf("place %d has the output of number %d, behind that of %d", i, n, next-1)
		}
		next = n + 1
	}
	if next != produced {
		return fmt.Errorf("the last of %d outputs is that of number %d, want %d", len(numbers), next-1, produced-1)
	}
	return nil
}
