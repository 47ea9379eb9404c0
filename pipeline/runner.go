package pipeline

import (
	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/internal/runner"
)

// The functions of package runner with their types. The type assertions run once, here, and not in each turn.
//
//nolint:gochecknoglobals,errcheck // constant; a wrong type must panic at once
var (
	reset         = runner.Reset.(func(*keystrand.Call, []*keystrand.Message))
	release       = runner.Release.(func(*keystrand.Call))
	handlerNext   = runner.HandlerNext.(func(keystrand.Handler) keystrand.Next)
	batchNext     = runner.BatchNext.(func(keystrand.BatchHandler) keystrand.Next)
	transformNext = runner.TransformNext.(func(keystrand.Transformer) keystrand.Next)
	check         = runner.Check.(func(any) error)
	cloneValue    = runner.CloneValue.(func(*keystrand.Message))
)
