package keystrand

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// Check returns what is wrong with a handler, of any shape, that would panic at its first message: a nil function behind
// one of this package's types, also within a [Mux] or a [Decode]. The error names each, a line each. A pipeline asks when
// it is built; it does not look into types of other packages.
func Check(handler any) error { return errors.Join(check(handler)...) }

func check(handler any) []error {
	nothing := false
	switch h := handler.(type) {
	case nil:
		return []error{errors.New("the handler is nil")}
	case HandlerFunc:
		nothing = h == nil
	case BatchHandlerFunc:
		nothing = h == nil
	case TransformerFunc:
		nothing = h == nil
	case interface{ check() []error }:
		return h.check()
	}
	if nothing {
		return []error{fmt.Errorf("the handler is a nil %T", handler)}
	}
	return nil
}

func (x Mux) check() (errs []error) {
	for _, stream := range slices.Sorted(maps.Keys(x)) {
		for _, err := range check(x[stream]) {
			errs = append(errs, fmt.Errorf("stream %q: %w", stream, err))
		}
	}
	return errs
}
