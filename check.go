package keystrand

import (
	"errors"
	"fmt"
)

// checkHandler returns an error for each nil function or nil handler, which would panic at the first message. It looks into
// the types of this package, nested ones too. It does not look into types of other packages.
func checkHandler(handler any) error { return errors.Join(check(handler)...) }

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
