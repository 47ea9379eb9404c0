package lines_test

import (
	"context"
	"fmt"
	"os"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink/lines"
)

func Example() {
	s, err := lines.New(os.Stdout, lines.Config{})
	if err != nil {
		fmt.Println(err)
		return
	}
	w, err := s.Open()
	if err != nil {
		fmt.Println(err)
		return
	}
	err = w.Write(context.Background(), []keystrand.Message{
		{Stream: "comments", Partition: 3, Offset: 42, Key: []byte("post-7"), Value: []byte("hi")},
		{Stream: "comments", Partition: 3, Offset: 43, Key: []byte{0xff}},
	})
	fmt.Println(err, w.Close(), s.Close())
	// Output:
	// {"stream":"comments","partition":3,"offset":42,"key":"post-7","value":"hi"}
	// {"stream":"comments","partition":3,"offset":43,"key_base64":"/w=="}
	// <nil> <nil> <nil>
}
