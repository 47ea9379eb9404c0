package memory_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink/memory"
)

func Example() {
	s := memory.New()
	s.SetFault(func(_ context.Context, m *keystrand.Message) error {
		if string(m.Value) == "poison" {
			return keystrand.Permanent(errors.New("refused"))
		}
		return nil
	})
	w, err := s.Open()
	if err != nil {
		fmt.Println(err)
		return
	}
	err = w.Write(context.Background(), []keystrand.Message{
		{Stream: "comments", Key: []byte("post-1"), Value: []byte("first")},
		{Stream: "comments", Key: []byte("post-2"), Value: []byte("poison")},
		{Stream: "comments", Key: []byte("post-2"), Value: []byte("behind")},
		{Stream: "comments", Key: []byte("post-1"), Value: []byte("second")},
	})
	fmt.Println(err)
	for _, m := range s.Key("post-1") {
		fmt.Printf("%s: %s\n", m.Key, m.Value)
	}
	fmt.Println("total:", len(s.Messages()))
	// Output:
	// sink: 2 of 4 messages not written: refused
	// post-1: first
	// post-1: second
	// total: 2
}
