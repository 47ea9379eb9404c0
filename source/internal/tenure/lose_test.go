package tenure_test

import (
	"testing"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/internal/tenure"
)

// The pipeline reacts to the Leave at once, and may look at the report.
func TestLossIsRecordedBeforeTheLeaveIsSent(t *testing.T) {
	tn := tenure.New("x", source.ID{Stream: "t"}, 0)
	recorded := false
	lost := tn.LoseAfter("gone", func() {
		recorded = true
		select {
		case l := <-tn.Leaving():
			t.Fatalf("leave = %+v before the loss was recorded", l)
		default:
		}
		if err := tn.Commit(1); err == nil {
			t.Error("a commit of a lost partition was allowed")
		}
	})
	if l := <-tn.Leaving(); !lost || !recorded || !l.Lost {
		t.Errorf("lost = %v, recorded = %v, leave = %+v", lost, recorded, l)
	}
	if tn.LoseAfter("again", func() { t.Error("the second loss was recorded") }) {
		t.Error("lost twice")
	}
}
