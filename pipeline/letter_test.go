package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// failAll runs a pipeline over the messages whose handler fails for each of them, until it returns.
func failAll(t *testing.T, b func(*pipeline.Builder) *pipeline.Builder, ms ...keystrand.Message) (*running, error) {
	t.Helper()
	log := memory.NewLog("posts", 1)
	log.Append(0, ms...)
	log.Close()
	run := start(t, b(pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
		HandleFunc(func(context.Context, *keystrand.Message) error { return keystrand.Permanent(errBoom) })))
	return run, run.wait()
}

func policy(p pipeline.Policy) func(*pipeline.Builder) *pipeline.Builder {
	return func(b *pipeline.Builder) *pipeline.Builder { return b.OnFailure(p) }
}

// limited is a sink that refuses messages larger than a limit, as a broker does.
func limited(most int) *sinkmemory.Sink {
	s := sinkmemory.New()
	s.SetFault(func(_ context.Context, m *keystrand.Message) error {
		if n := m.Size(); n > most {
			return keystrand.Permanent(fmt.Errorf("%d bytes exceed %d", n, most))
		}
		return nil
	})
	return s
}

func header(m *keystrand.Message, name string) string {
	v, ok := m.Header(name)
	if !ok {
		return "none"
	}
	return string(v)
}

// A broker deletes by the time of a message, and refuses times far from its own. So a dead letter has its time of writing.
func TestDeadLetterHasTheTimeOfWritingAndKeepsTheOriginalInAHeader(t *testing.T) {
	for name, tc := range map[string]struct {
		time time.Time
		want string
	}{
		"ten days ago":          {time.UnixMilli(946684800000 - 10*86400_000), "945820800000"},
		"year 9999":             {time.UnixMilli(253402300799000), "253402300799000"},
		"microseconds":          {time.UnixMilli(1796026409047000), "1796026409047000"},
		"nanoseconds":           {time.UnixMilli(1796026409047000_000), "1796026409047000000"},
		"1970":                  {time.UnixMilli(0), "0"},
		"one millisecond":       {time.UnixMilli(1), "1"},
		"before 1970":           {time.UnixMilli(-86400_000), "-86400000"},
		"before 1678":           {time.UnixMilli(-9_300_000_000_000), "-9300000000000"},
		"the largest":           {time.UnixMilli(math.MaxInt64), "9223372036854775807"},
		"the smallest":          {time.UnixMilli(math.MinInt64), "-9223372036854775808"},
		"in another zone":       {time.UnixMilli(5).In(time.FixedZone("x", 3600)), "5"},
		"nanoseconds of 1970":   {time.Unix(0, 999_999), "0"},
		"just before 1970":      {time.Unix(0, -1), "-1"},
		"the first of year 1":   {time.UnixMilli(-62135596800000).Add(1), "-62135596800000"}, // as the Kafka source has it
		"too late for 64 bits":  {time.Unix(math.MaxInt64/1000+1, 0), "none"},
		"too early for 64 bits": {time.Unix(math.MinInt64/1000-1, 0), "none"},
		"no time":               {time.Time{}, "none"},
		"later than the letter": {time.UnixMilli(946684800000 + 3600_000), "946688400000"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dlq := sinkmemory.New()
				refusals := 2
				dlq.SetFault(func(context.Context, *keystrand.Message) error {
					if refusals--; refusals >= 0 {
						return errors.New("away")
					}
					return nil
				})
				m := keyed("k")
				m.Time = tc.time
				if _, err := failAll(t, policy(pipeline.DeadLetter(dlq)), m); err != nil {
					t.Fatal(err)
				}
				l := dlq.Messages()[0]
				if now := time.Now(); !l.Time.Equal(now) {
					t.Errorf("the letter has the time %v, want that of its last Write, %v", l.Time, now)
				}
				if got := header(&l, pipeline.HeaderTime); got != tc.want {
					t.Errorf("%s is %s, want %s", pipeline.HeaderTime, got, tc.want)
				}
			})
		})
	}
}

func TestDeadLetterTellsNullFromEmptyAndBytesFromText(t *testing.T) {
	for name, tc := range map[string]struct {
		m    keystrand.Message
		want string
	}{
		"null key":    {keystrand.Message{Value: []byte("v")}, "null none v"},
		"empty key":   {keystrand.Message{Key: []byte{}, Value: []byte("v")}, "string none v"},
		"text key":    {keystrand.Message{Key: []byte("käse"), Value: []byte("v")}, "string none v"},
		"binary key":  {keystrand.Message{Key: []byte{0xff, 0}, Value: []byte("v")}, "binary none v"},
		"tombstone":   {keystrand.Message{Key: []byte("k")}, "string null "}, // with nil it would delete other letters of the key
		"empty value": {keystrand.Message{Key: []byte("k"), Value: []byte{}}, "string none "},
		"native":      {keystrand.Message{Key: []byte("k"), Native: nativeText("row")}, "string none native"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dlq := sinkmemory.New()
				if _, err := failAll(t, policy(pipeline.DeadLetter(dlq)), tc.m); err != nil {
					t.Fatal(err)
				}
				l := dlq.Messages()[0]
				value := string(l.Value)
				switch {
				case l.Native != nil:
					value = "native"
				case l.Value == nil:
					value = "nil"
				}
				if got := header(&l, pipeline.HeaderKey) + " " + header(&l, pipeline.HeaderValue) + " " + value; got != tc.want {
					t.Errorf("key, value header and value: %q, want %q", got, tc.want)
				}
				if (l.Key == nil) != (tc.m.Key == nil) || string(l.Key) != string(tc.m.Key) {
					t.Errorf("key %q, want %q", l.Key, tc.m.Key)
				}
			})
		})
	}
}

type nativeText string

func (n nativeText) AppendValue(dst []byte) ([]byte, error) { return append(dst, n...), nil }
func (n nativeText) Size() int                              { return len(n) }

func TestDeadLetterNamesTheFirstAndTheLastError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("retried"), keyed("blocked"), keyed("once"), keyed("batched"))
		log.Close()
		dlq := sinkmemory.New()
		calls := map[string]int{}
		var mu sync.Mutex
		run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
			HandleFunc(func(_ context.Context, m *keystrand.Message) error {
				mu.Lock()
				defer mu.Unlock()
				calls[string(m.Key)]++
				n := calls[string(m.Key)]
				err := fmt.Errorf("call %d", n)
				if string(m.Key) == "retried" && n < 3 {
					return keystrand.RetryAfter(time.Second, err)
				}
				return err
			}).OnFailure(func(f pipeline.Failure) pipeline.Action {
			if mu.Lock(); string(f.Message.Key) == "blocked" && calls["blocked"] < 3 {
				mu.Unlock()
				return pipeline.BlockFor(0, 0)(f)
			}
			mu.Unlock()
			return pipeline.DeadLetter(dlq)(f)
		}))
		if err := run.wait(); err != nil {
			t.Fatal(err)
		}
		for key, want := range map[string]string{"retried": "call 1, call 3", "blocked": "call 1, call 3", "once": "call 1, call 1"} {
			l := dlq.Key(key)[0]
			if got := header(&l, pipeline.HeaderFirstError) + ", " + header(&l, pipeline.HeaderError); got != want {
				t.Errorf("%s: errors %s, want %s", key, got, want)
			}
		}
		if s := run.Snapshot(); s.Failed != 4 || s.DeadLettered != 4 {
			t.Errorf("failed %d, dead-lettered %d: want each of 4 messages once", s.Failed, s.DeadLettered)
		}
	})
}

// A letter that is read and fails again has the headers once: Pulsar keeps one of a name.
func TestLetterOfALetterHasEachHeaderOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := sinkmemory.New(), sinkmemory.New()
		if _, err := failAll(t, policy(pipeline.DeadLetter(first)), keyed("k")); err != nil {
			t.Fatal(err)
		}
		l := first.Messages()[0]
		l.Headers = append(l.Headers, keystrand.Header{Key: "trace", Value: []byte("1")}, keystrand.Header{Key: "trace", Value: []byte("2")})
		if _, err := failAll(t, policy(pipeline.DeadLetter(second)), l); err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, h := range second.Messages()[0].Headers {
			count[h.Key]++
		}
		for name, n := range count {
			if want := map[bool]int{true: 2, false: 1}[name == "trace"]; n != want {
				t.Errorf("header %s stands %d times, want %d", name, n, want)
			}
		}
	})
}

// A letter that fails again and again tells what its message was and where it came from at first, and does not grow.
func TestLetterOfLettersKeepsTheFirstOriginAndWhatTheMessageWas(t *testing.T) {
	for name, tc := range map[string]struct {
		m    keystrand.Message
		want string
	}{
		"tombstone":   {keystrand.Message{Key: []byte("k"), Time: time.UnixMilli(5)}, "posts/0@0 5 string null"},
		"null key":    {keystrand.Message{Value: []byte("v"), Time: time.UnixMilli(5)}, "posts/0@0 5 null none"},
		"no time":     {keystrand.Message{Key: []byte{0xff}, Value: []byte{}}, "posts/0@0 none binary none"},
		"empty key":   {keystrand.Message{Key: []byte{}, Value: []byte("v")}, "posts/0@0 none string none"},
		"our headers": {forged(50), "posts/0@0 none string none"},
		"too long":    {forged(50_000), "posts/0@0 none string none"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, size := tc.m, 0
				for round := range 10 {
					dlq := sinkmemory.New()
					if _, err := failAll(t, policy(pipeline.DeadLetter(dlq)), m); err != nil {
						t.Fatal(err)
					}
					m = dlq.Messages()[0]
					if len(m.Key) == 0 {
						m.Key = []byte{} // as in a store that does not distinguish them
					}
					if n := m.Size(); round > 1 && n > size || n > 2000 {
						t.Errorf("the letter has grown from %d to %d bytes", size, n)
					}
					size = m.Size()
				}
				got := header(&m, pipeline.HeaderOrigin) + " " + header(&m, pipeline.HeaderOriginTime) + " " +
					header(&m, pipeline.HeaderKey) + " " + header(&m, pipeline.HeaderValue)
				if got != tc.want {
					t.Errorf("origin, time, key and value: %s, want %s", got, tc.want)
				}
			})
		})
	}
}

// forged is a message of a producer that uses some of the headers' names.
func forged(size int) keystrand.Message {
	m := keyed("k")
	for _, name := range []string{pipeline.HeaderStream, pipeline.HeaderTime, pipeline.HeaderKey, pipeline.HeaderValue, pipeline.HeaderError} {
		m.Headers = append(m.Headers, keystrand.Header{Key: name, Value: make([]byte, size)})
	}
	return m
}

// The message was as large as its topic accepts, so that the letter with all headers is too large.
func TestDeadLetterNearTheLimitOfTheSinkLosesTheHeadersThatDoNotFit(t *testing.T) {
	big := func(own int) keystrand.Message {
		m := keyed("k")
		m.Value = make([]byte, 10_000)
		if own > 0 {
			m.Headers = []keystrand.Header{{Key: "h", Value: make([]byte, own)}}
		}
		return m
	}
	for name, tc := range map[string]struct {
		m                      keystrand.Message
		room                   int // for headers
		own, origin, textBytes int
	}{
		"room for all":              {big(10), 4000, 1, 3, 1024 + 3},
		"room for short errors":     {big(10), 600, 1, 3, 103},
		"own headers too large":     {big(5000), 4000, 0, 3, 1024 + 3},
		"only short errors":         {big(5000), 600, 0, 3, 103},
		"only the origin":           {big(0), 100, 0, 3, 0},
		"room for no header":        {big(0), 0, 0, 0, 0},
		"room for own headers only": {big(5), 6, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dlq := limited(10_001 + tc.room)
				log := memory.NewLog("posts", 1)
				log.Append(0, tc.m, keyed("small"))
				log.Close()
				run := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).
					HandleFunc(func(context.Context, *keystrand.Message) error { return errors.New(strings.Repeat("x", 5000)) }).
					OnFailure(pipeline.DeadLetter(dlq)))
				began := time.Now()
				if err := run.wait(); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(began); d > time.Second {
					t.Errorf("took %v: a smaller form is written at once", d)
				}
				l := dlq.Key("k")[0]
				own, origin := 0, 0
				for _, h := range l.Headers {
					switch h.Key {
					case "h":
						own++
					case pipeline.HeaderStream, pipeline.HeaderPartition, pipeline.HeaderOffset:
						origin++
					}
				}
				text, _ := l.Header(pipeline.HeaderError)
				if own != tc.own || origin != tc.origin || len(text) != tc.textBytes || len(l.Value) != 10_000 {
					t.Errorf("%d own headers, %d of the origin, %d bytes of error; want %d, %d, %d", own, origin, len(text), tc.own, tc.origin, tc.textBytes)
				}
				if _, told := l.Header(pipeline.HeaderDropped); told != (tc.textBytes > 0 && tc.own < len(tc.m.Headers)) {
					t.Errorf("%s: %v", pipeline.HeaderDropped, told)
				}
				if s := run.Snapshot(); s.Failed != 2 || s.DeadLettered != 2 {
					t.Errorf("failed %d, dead-lettered %d: want 2 and 2", s.Failed, s.DeadLettered)
				}
			})
		})
	}
}
