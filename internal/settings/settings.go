// Package settings checks the configurations of sources, sinks and the pipeline.
package settings

import (
	"iter"
	"reflect"
	"time"
)

// Negative returns the names and values of the exported fields of a struct that have the type T and are negative.
func Negative[T int | int64 | time.Duration](config any) iter.Seq2[string, T] {
	return func(yield func(string, T) bool) {
		for field, value := range reflect.ValueOf(config).Fields() {
			if field.Type != reflect.TypeFor[T]() || !field.IsExported() {
				continue
			}
			if v := T(value.Int()); v < 0 && !yield(field.Name, v) {
				return
			}
		}
	}
}
