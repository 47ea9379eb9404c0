package drc

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/keystrand/keystrand/source/binlog"
)

func TestImageNeedsAValueForEachColumn(t *testing.T) {
	table := &binlog.Table{Columns: []binlog.Column{{Name: "id", Type: "int"}, {Name: "note", Type: "text"}}}
	for n := range 4 {
		image := []any{json.Number("1"), "a", nil}[:min(n, 3)]
		if _, err := valuesOf(table, image); (err == nil) != (len(image) == 2) || err != nil && !errors.Is(err, errMalformed) {
			t.Errorf("%d values for 2 columns: error %v", len(image), err)
		}
	}
}
