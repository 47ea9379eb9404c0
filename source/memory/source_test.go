package memory_test

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
)

func TestSourceHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("comments", 2)
		for p := range int32(2) {
			for i := range 10 {
				log.Append(p, keystrand.Message{Value: fmt.Append(nil, i)})
			}
		}
		a := memory.NewSource(memory.Config{}, log)
		p0, err := a.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p1, err := a.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b := source.Batch{MaxMessages: 4, MaxBytes: 100}
		if err := p1.Fetch(t.Context(), &b); err != nil || len(b.Messages) != 4 || b.Next != 4 {
			t.Fatalf("fetch: %v %v", b, err)
		}
		if _, err := p1.Commit(t.Context(), &commit.Progress{Log: log.Identity(), Epoch: 1, Frontier: 2, Ahead: []commit.Range{{From: 3, To: 4}}}); err != nil {
			t.Fatal(err)
		}
		second := memory.NewSource(memory.Config{}, log)
		<-p1.Leaving()
		if err := p1.Fetch(t.Context(), &b); !errors.Is(err, source.ErrLeaving) {
			t.Fatal(err)
		}
		if err := p1.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		p1b, err := second.Accept(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r := p1b.Restored(); r.Epoch != 2 || r.Frontier != 2 || len(r.Ahead) != 1 {
			t.Fatal(r)
		}
		second.Crash()
		if _, err := p1b.Commit(t.Context(), &commit.Progress{}); !errors.Is(err, commit.ErrFenced) {
			t.Fatal(err)
		}
		log.Close()
		b.Messages = b.Messages[:0]
		b.MaxMessages = 100
		if err := p0.Fetch(t.Context(), &b); err != nil || len(b.Messages) != 10 {
			t.Fatal(err)
		}
		if err := p0.Fetch(t.Context(), &b); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	})
}
