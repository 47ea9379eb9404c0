package settings_test

import (
	"maps"
	"testing"
	"time"

	"github.com/keystrand/keystrand/internal/settings"
)

func TestNegativeReturnsExportedFieldsOfTheType(t *testing.T) {
	type kind int
	c := struct {
		Workers, Queue int
		Wait, Pause    time.Duration
		Kind           kind
		Name           string
		hidden         int
	}{Workers: -1, Queue: 0, Wait: 1, Pause: -2, Kind: -3, hidden: -4}
	if got := maps.Collect(settings.Negative[int](c)); len(got) != 1 || got["Workers"] != -1 {
		t.Errorf("negative ints = %v, want Workers -1", got)
	}
	if got := maps.Collect(settings.Negative[time.Duration](c)); len(got) != 1 || got["Pause"] != -2 {
		t.Errorf("negative durations = %v, want Pause -2ns", got)
	}
	_ = c.hidden
}
