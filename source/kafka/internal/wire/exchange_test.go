package wire

import (
	"testing"

	"github.com/keystrand/keystrand/source/kafka/internal/buffer"
)

// A response that arrives just when its request is given up is given back.
func TestAbortedExchangeHoldsNothing(t *testing.T) {
	var b buffer.Pool
	late := &Exchange{Buffers: &b}
	late.response = late.frame(5000)
	if !late.end(nil) {
		t.Error("the response does not count")
	}
	late.abort()
	early := &Exchange{Buffers: &b}
	early.abort()
	early.response = early.frame(5000)
	if early.end(nil) {
		t.Error("the response counts after abort")
	}
	if n := b.Lent(); n != 0 {
		t.Errorf("%d bytes are lent", n)
	}
}
