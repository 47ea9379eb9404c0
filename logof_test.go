package keystrand

import (
	"context"
	"testing"
)

func TestLogOfReturnsTheLogOfTheContext(t *testing.T) {
	if log, ok := LogOf(context.Background()); ok || log != "" {
		t.Errorf("LogOf of another ctx = %q, %v", log, ok)
	}
	for _, want := range []string{"id", ""} {
		ctx, cancel := context.WithCancel(WithLog(t.Context(), want))
		defer cancel()
		if log, ok := LogOf(ctx); !ok || log != want {
			t.Errorf("LogOf = %q, %v; want %q, true", log, ok, want)
		}
	}
}
