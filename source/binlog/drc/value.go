package drc

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/keystrand/keystrand/source/binlog"
)

// valuesOf returns an image of a row with the values that [binlog.Row] documents.
func valuesOf(t *binlog.Table, image []any) ([]any, error) {
	if len(image) != len(t.Columns) {
		return nil, fmt.Errorf("%w: %d values for %d columns", errMalformed, len(image), len(t.Columns))
	}
	values := make([]any, len(image))
	for i, v := range image {
		var err error
		if values[i], err = valueOf(&t.Columns[i], v); err != nil {
			return nil, fmt.Errorf("column %s of type %s: %w", t.Columns[i].Name, t.Columns[i].Type, err)
		}
	}
	return values, nil
}

func valueOf(c *binlog.Column, v any) (any, error) {
	switch v := v.(type) {
	case nil:
		return nil, nil //nolint:nilnil // NULL
	case json.Number:
		return numberOf(c, v.String())
	case string:
		if !(Column{Type: c.Type}).binary() {
			return v, nil
		}
		b, err := base64.StdEncoding.DecodeString(v)
		return b, err
	}
	return nil, fmt.Errorf("%w: a value that is no number, string or null", errMalformed)
}

func numberOf(c *binlog.Column, text string) (any, error) {
	switch {
	case c.Type == "float" || c.Type == "double":
		return strconv.ParseFloat(text, 64)
	case c.Unsigned || c.Type == "bit":
		return strconv.ParseUint(text, 10, 64)
	default:
		return strconv.ParseInt(text, 10, 64)
	}
}
