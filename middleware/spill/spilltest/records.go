package spilltest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/middleware/spill"
)

func appendedIsRead(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	if err := l.Append(ctx, nil); err != nil {
		return fmt.Errorf("append nothing: %w", err)
	}
	rs := slices.Concat(env.records("a", 1, 4, 6), env.records("b", 2, 3))
	if err := l.Append(ctx, rs); err != nil {
		return err
	}
	check := func() error {
		return errors.Join(env.holds(ctx, l, "a", -1, 1, 4, 6), env.holds(ctx, l, "a", 3, 4, 6), env.holds(ctx, l, "a", 4, 6),
			env.holds(ctx, l, "a", 6), env.holds(ctx, l, "b", -1, 2, 3), env.holds(ctx, l, "c", -1), env.holds(ctx, l, "", -1))
	}
	if err := check(); err != nil {
		return err
	}
	if l, _, err = env.restart(ctx, l, &o); err != nil {
		return err
	}
	if err := check(); err != nil {
		return fmt.Errorf("after a restart: %w", err)
	}
	return l.Close()
}

func everythingIsKept(ctx context.Context, env *Env) error {
	binary := []byte{0, 1, 0x80, 0xff, '\n', '"', '\\', '\''}
	want := []keystrand.Message{
		{},
		{Key: []byte{}, Value: []byte{}},
		{Key: []byte("null value"), Time: start},
		{Value: []byte("null key"), Fetched: start},
		{Key: binary, Value: binary},
		{Value: bytes.Repeat(binary, 40_000)},
		{Headers: []keystrand.Header{{Key: "trace", Value: []byte("1")}, {Key: "trace", Value: binary}, {Key: "none"}, {Key: "empty", Value: []byte{}}, {}}},
		{Headers: []keystrand.Header{{Key: string(binary)}}},
		{Time: time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), Fetched: time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)},
		{Time: time.Unix(-1, 1).UTC(), Fetched: time.Unix(math.MaxUint32*100, 0).UTC()},
		{Attempt: 7, Epoch: 99},
		{Offset: math.MaxInt64},
	}
	o := env.owner(1)
	o.Partition = math.MaxInt32
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	var rs []spill.Record
	for i := range want {
		m := &want[i]
		m.Stream, m.Partition = o.Stream, o.Partition
		m.Offset = max(m.Offset, int64(i))
		rs = append(rs, spill.Record{Key: "k", Message: *m})
		m.Attempt, m.Epoch = 0, 1
	}
	// A time in another zone, with a monotonic clock, is the same time.
	rs[2].Message.Time = start.In(time.FixedZone("east", 3600))
	if err := l.Append(ctx, rs); err != nil {
		return err
	}
	for restarted := range 2 {
		ms, err := l.Read(ctx, "k", -1, spill.Size{})
		if err != nil || len(ms) != len(want) {
			return fmt.Errorf("read %d messages with the error %w, want %d", len(ms), nonNil(err), len(want))
		}
		for i := range ms {
			want[i].Epoch = o.Epoch
			if err := same(&ms[i], &want[i]); err != nil {
				return fmt.Errorf("message %d, after %d restarts: %w", i, restarted, err)
			}
		}
		if l, _, err = env.restart(ctx, l, &o); err != nil {
			return err
		}
	}
	return l.Close()
}

// row is a Native that makes its bytes.
type row struct {
	bytes     []byte
	err       error
	tombstone bool
}

func (r row) AppendValue(dst []byte) ([]byte, error) { return append(dst, r.bytes...), r.err }
func (r row) Size() int                              { return len(r.bytes) }
func (r row) Tombstone() bool                        { return r.tombstone }

func rowsAreKeptAsBytes(ctx context.Context, env *Env) error {
	return env.with(ctx, func(l spill.Log) error {
		values := []struct {
			native keystrand.Native
			value  []byte
			want   []byte
		}{
			{native: row{bytes: []byte("row")}, want: []byte("row")},
			{native: row{}, want: []byte{}},
			{native: row{tombstone: true}},
			{native: row{bytes: []byte("row")}, value: []byte("value"), want: []byte("value")},
			{native: row{bytes: []byte("row")}, value: []byte{}, want: []byte{}},
		}
		var rs []spill.Record
		for i, v := range values {
			r := env.record("k", 0, int64(i))
			r.Message.Native, r.Message.Value = v.native, v.value
			rs = append(rs, r)
		}
		if err := l.Append(ctx, rs); err != nil {
			return err
		}
		ms, err := l.Read(ctx, "k", -1, spill.Size{})
		if err != nil || len(ms) != len(rs) {
			return fmt.Errorf("read %d messages with the error %w, want %d", len(ms), nonNil(err), len(rs))
		}
		for i := range ms {
			want := env.record("k", 0, int64(i)).Message
			want.Value, want.Epoch = values[i].want, 1
			if err := same(&ms[i], &want); err != nil {
				return fmt.Errorf("message %d: %w", i, err)
			}
		}
		return nil
	})
}

func messagesBelongToTheCaller(ctx context.Context, env *Env) error {
	return env.with(ctx, func(l spill.Log) error {
		headers := func() []keystrand.Header { return []keystrand.Header{{Key: "h", Value: []byte("1")}} }
		r := env.record("k", 0, 0)
		want := r.Message
		want.Epoch, want.Headers, r.Message.Headers = 1, headers(), headers()
		rs := []spill.Record{r}
		if err := l.Append(ctx, rs); err != nil {
			return err
		}
		rs[0].Message.Headers[0] = keystrand.Header{Key: "reused"}
		rs[0] = spill.Record{Key: "reused"}
		for range 2 {
			ms, err := l.Read(ctx, "k", -1, spill.Size{})
			if err != nil || len(ms) != 1 {
				return fmt.Errorf("read %d messages with the error %w, want 1", len(ms), nonNil(err))
			}
			if err := same(&ms[0], &want); err != nil {
				return err
			}
			ms[0].Headers[0] = keystrand.Header{Key: "changed"}
			_ = append(ms[0].Key, "appended"...) // must not reach the bytes behind
			_ = append(ms[0].Value, "appended"...)
		}
		return nil
	})
}

func keysOfAnyBytes(ctx context.Context, env *Env) error {
	keys := []string{
		"", "\x00", "\x00\x00", "\x00\xff", "\xff", "\xff\xff", "a", "A", "a ", " a", "a\x00", "a\x00b", "a/b", "a\x00\x00\x00\x00\x00\x00\x00\x01", "ab", "%", "_", "'", "é", "e\u0301",
		"\xc3", "\xed\xa0\x80", strings.Repeat("k", 250), strings.Repeat("k", 1023), strings.Repeat("k", 1024), strings.Repeat("k", 1025),
		strings.Repeat("\x00", 1023), strings.Repeat("\x00", 1024), strings.Repeat("k", 40_000), strings.Repeat("k", 40_000) + "\x00", strings.Repeat("\xff", 300_000),
	}
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	var rs []spill.Record
	for i, k := range keys {
		rs = append(rs, env.record(k, int64(i), int64(i)), env.record(k, int64(i), math.MaxInt64-int64(i)))
	}
	if err := l.Append(ctx, rs); err != nil {
		return err
	}
	l, strands, err := env.restart(ctx, l, &o)
	if err != nil {
		return err
	}
	if len(strands) != len(keys) {
		return fmt.Errorf("open returned %d strands, want %d", len(strands), len(keys))
	}
	for i, k := range keys {
		want := spill.Strand{Key: k, From: int64(i), High: math.MaxInt64 - int64(i), Mark: -1, Records: 2, Bytes: sizeOf(rs[2*i : 2*i+2])}
		if err := errors.Join(strand(strands, want), env.holds(ctx, l, k, -1, want.From, want.High)); err != nil {
			return err
		}
	}
	for i, k := range keys {
		if err := l.Save(ctx, []spill.Mark{{Key: k, Through: math.MaxInt64, Change: spill.Remove}}); err != nil {
			return fmt.Errorf("remove %.50q: %w", k, err)
		}
		for _, other := range keys[:i+1] {
			if err := env.holds(ctx, l, other, -1); err != nil {
				return err
			}
		}
		if i+1 < len(keys) {
			if err := env.holds(ctx, l, keys[i+1], -1, int64(i+1), math.MaxInt64-int64(i+1)); err != nil {
				return fmt.Errorf("after %.50q was removed: %w", k, err)
			}
		}
	}
	return l.Close()
}

func smallerOffsetComesFirst(ctx context.Context, env *Env) error {
	o := env.owner(1)
	l, _, err := env.open(ctx, o)
	if err != nil {
		return err
	}
	for _, offsets := range [][]int64{{300, 256}, {255, 1 << 40}, {0}, {65536, 1}} {
		if err := l.Append(ctx, env.records("a", offsets...)); err != nil {
			return err
		}
	}
	all := []int64{0, 1, 255, 256, 300, 65536, 1 << 40}
	if err := env.holds(ctx, l, "a", -1, all...); err != nil {
		return err
	}
	l, strands, err := env.restart(ctx, l, &o)
	if err != nil {
		return err
	}
	want := spill.Strand{Key: "a", From: 0, High: 1 << 40, Mark: -1, Records: 7, Bytes: sizeOf(env.records("a", all...))}
	return errors.Join(strand(strands, want), env.holds(ctx, l, "a", 1, all[2:]...), l.Close())
}

func refusedRecordIsNamed(ctx context.Context, env *Env) error {
	return env.with(ctx, func(l spill.Log) error {
		refused := map[string]func(r *spill.Record){
			"a Native that cannot be encoded": func(r *spill.Record) { r.Message.Value, r.Message.Native = nil, row{err: errEncode} },
			"another stream":                  func(r *spill.Record) { r.Message.Stream = "another" },
			"another partition":               func(r *spill.Record) { r.Message.Partition++ },
			"a negative offset":               func(r *spill.Record) { r.Message.Offset, r.From = -1, -1 },
			"From above the offset":           func(r *spill.Record) { r.From = r.Message.Offset + 1 },
		}
		for name, spoil := range refused {
			rs := env.records("a", 1, 2, 3)
			spoil(&rs[1])
			err := l.Append(ctx, rs)
			e, ok := errors.AsType[*spill.RecordError](err)
			if !ok || e.Record != 1 {
				return fmt.Errorf("append with %s: got the error %w, want a *RecordError of record 1", name, nonNil(err))
			}
			if err := env.holds(ctx, l, "a", -1); err != nil {
				return fmt.Errorf("after a refused Append: %w", err)
			}
		}
		if err := l.Append(ctx, env.records("a", 1, 3)); err != nil {
			return err
		}
		return env.holds(ctx, l, "a", -1, 1, 3)
	})
}

func windowsBySize(ctx context.Context, env *Env) error {
	return env.with(ctx, func(l spill.Log) error {
		rs := env.records("a", 0, 1, 2, 3, 4)
		for i := range rs {
			rs[i].Message.Value = make([]byte, 99) // and one of the key
		}
		rs[3].Message.Value = make([]byte, 999)
		if err := l.Append(ctx, rs); err != nil {
			return err
		}
		for _, c := range []struct {
			after int64
			limit spill.Size
			want  int
		}{
			{-1, spill.Size{}, 5},
			{-1, spill.Size{Messages: 2}, 2},
			{-1, spill.Size{Messages: 9}, 5},
			{-1, spill.Size{Bytes: 299}, 2},
			{-1, spill.Size{Bytes: 300}, 3},
			{-1, spill.Size{Messages: 1, Bytes: 300}, 1},
			{-1, spill.Size{Bytes: 1}, 1},
			{2, spill.Size{Bytes: 300}, 1},
			{2, spill.Size{Bytes: 1100}, 2},
			{4, spill.Size{Bytes: 1100}, 0},
		} {
			ms, err := l.Read(ctx, "a", c.after, c.limit)
			if err != nil || len(ms) != c.want {
				return fmt.Errorf("read after %d with %+v: %d messages with the error %w, want %d", c.after, c.limit, len(ms), nonNil(err), c.want)
			}
		}
		return nil
	})
}

var errEncode = errors.New("spilltest: cannot encode")
