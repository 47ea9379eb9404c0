package spilltest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
)

// numberedRecords is how many records an Append of AppendNumbered has, over numberedKeys keys.
const numberedRecords, numberedKeys = 40, 7

// AppendNumbered appends to partition 0 of the stream of the Env, without end, and writes a line to reported after each Append.
// It begins where the store ends, and first writes a line for each Append that is there. It returns an error, or is killed. It is
// for the process that Env.Kill starts.
func AppendNumbered(ctx context.Context, s spill.Store, stream string, epoch int64, reported io.Writer) error {
	o := numberedOwner(stream)
	o.Epoch = epoch
	l, strands, err := s.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	next := 0
	for _, st := range strands {
		next = max(next, int(st.High)/numberedRecords)
	}
	for i := range next {
		if _, err := fmt.Fprintln(reported, i); err != nil {
			return err
		}
	}
	for i := next; ; i++ {
		if err := l.Append(ctx, numbered(o, i)); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(reported, i); err != nil {
			return err
		}
	}
}

func numberedOwner(stream string) spill.Owner { return spill.Owner{Stream: stream, Log: "log-1"} }

// numbered returns the records of the Append i.
func numbered(o spill.Owner, i int) []spill.Record {
	var rs []spill.Record
	for n := i * numberedRecords; n < (i+1)*numberedRecords; n++ {
		key := strconv.Itoa(n % numberedKeys)
		rs = append(rs, spill.Record{Key: key, Message: keystrand.Message{
			Stream: o.Stream, Offset: int64(n), Key: []byte(key), Value: bytes.Repeat([]byte{byte(n)}, 1000), Time: start, Fetched: start,
		}})
	}
	return rs
}
