package spilltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/middleware/spill"
)

// record returns a record of a key with a value of its own.
func (env *Env) record(key string, from, offset int64) spill.Record {
	return spill.Record{Key: key, From: from, Message: keystrand.Message{
		Stream: env.Stream, Offset: offset, Key: []byte(key), Value: strconv.AppendInt([]byte("value "), offset, 10), Time: start, Fetched: start.Add(time.Second),
	}}
}

// records returns a record of a key for each offset, From the smallest.
func (env *Env) records(key string, offsets ...int64) []spill.Record {
	var rs []spill.Record
	for _, o := range offsets {
		rs = append(rs, env.record(key, slices.Min(offsets), o))
	}
	return rs
}

// holds returns an error unless the strand has exactly these offsets above after, with the messages that record makes.
func (env *Env) holds(ctx context.Context, l spill.Log, key string, after int64, offsets ...int64) error {
	ms, err := l.Read(ctx, key, after, spill.Size{})
	if err != nil {
		return fmt.Errorf("read %.50q after %d: %w", key, after, err)
	}
	var got []int64
	for i := range ms {
		got = append(got, ms[i].Offset)
	}
	if !slices.Equal(got, offsets) {
		return fmt.Errorf("strand %.50q has the offsets %d above %d, want %d", key, got, after, offsets)
	}
	for i := range ms {
		want := env.record(key, 0, offsets[i]).Message
		want.Epoch = ms[i].Epoch
		if err := same(&ms[i], &want); err != nil {
			return fmt.Errorf("strand %.50q offset %d: %w", key, offsets[i], err)
		}
	}
	return nil
}

// same returns an error unless two messages are equal, nil and empty apart.
func same(got, want *keystrand.Message) error {
	var errs []error
	check := func(what string, equal bool, got, want any) {
		if !equal {
			errs = append(errs, fmt.Errorf("%s is %.200q, want %.200q", what, fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want)))
		}
	}
	check("Key", sameBytes(got.Key, want.Key), got.Key, want.Key)
	check("Value", sameBytes(got.Value, want.Value), got.Value, want.Value)
	check("Headers", slices.EqualFunc(got.Headers, want.Headers, func(a, b keystrand.Header) bool {
		return a.Key == b.Key && sameBytes(a.Value, b.Value)
	}), got.Headers, want.Headers)
	check("Time", sameTime(got.Time, want.Time), got.Time, want.Time)
	check("Fetched", sameTime(got.Fetched, want.Fetched), got.Fetched, want.Fetched)
	check("Stream", got.Stream == want.Stream, got.Stream, want.Stream)
	check("Partition", got.Partition == want.Partition, got.Partition, want.Partition)
	check("Offset", got.Offset == want.Offset, got.Offset, want.Offset)
	check("Epoch", got.Epoch == want.Epoch, got.Epoch, want.Epoch)
	check("Attempt", got.Attempt == want.Attempt, got.Attempt, want.Attempt)
	check("Native", got.Native == nil, got.Native, nil)
	return errors.Join(errs...)
}

// sameTime reports whether a is b, in UTC.
func sameTime(a, b time.Time) bool { return a.Equal(b) && a.Location() == time.UTC }

func sameBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

// strand returns an error unless got has the fields of want, but for Since, and for Log if want has none.
func strand(got map[string]spill.Strand, want spill.Strand) error {
	s, ok := got[want.Key]
	if !ok {
		return fmt.Errorf("open did not return the strand %.50q; it returned %d", want.Key, len(got))
	}
	want.Since = s.Since
	if want.Log == "" {
		want.Log = s.Log
	}
	if s != want {
		return fmt.Errorf("strand is\n%+v, want\n%+v", s, want)
	}
	return nil
}

// fenced returns an error unless err wraps ErrFenced.
func fenced(what string, err error) error {
	if !errors.Is(err, commit.ErrFenced) {
		return fmt.Errorf("%s by an older owner: got the error %w, want one that wraps commit.ErrFenced", what, nonNil(err))
	}
	return nil
}

func nonNil(err error) error {
	if err == nil {
		return errNil
	}
	return err
}

var errNil = errors.New("nil")

// sizeOf returns the sum of the sizes of the messages.
func sizeOf(rs []spill.Record) int64 {
	n := 0
	for i := range rs {
		n += rs[i].Message.Size()
	}
	return int64(n)
}

var start = time.Date(2020, 2, 3, 4, 5, 6, 7_008_009, time.UTC) //nolint:gochecknoglobals // immutable
