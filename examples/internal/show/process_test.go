package show

import (
	"strings"
	"testing"

	"github.com/keystrand/keystrand"
)

func TestCheckFindsNothingBrokenInTheReportsOfABatch(t *testing.T) {
	ms := []*keystrand.Message{
		{Key: []byte("post-1"), Value: []byte("1"), Offset: 4},
		{Key: []byte("post-1"), Value: []byte("2"), Offset: 6},
		{Key: []byte("post-1"), Value: []byte("3"), Offset: 7},
	}
	c := NewCheck(len(ms))
	c.Starts()
	for line := range strings.Lines(string(appendReport(nil, 'b', ms[0])) + string(appendEnds(nil, ms))) {
		c.Heard(line)
	}
	if got := c.Result(); got != (Counts{}) || !c.Handled(Comment{Post: "post-1", N: 3, Offset: 7}) {
		t.Errorf("result = %+v, want all handled in order", got)
	}
}
