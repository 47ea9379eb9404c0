package pipeline_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	sinkmemory "github.com/keystrand/keystrand/sink/memory"
	"github.com/keystrand/keystrand/source/memory"
)

// A line about a message names its key, at most 256 bytes of it, also while its dead letter is refused.
func TestLogNamesKeysAndCutsLongOnes(t *testing.T) {
	for name, tc := range map[string]struct{ key, want string }{
		"short":                       {"k1", " key=k1 "},
		"the limit":                   {strings.Repeat("k", 256), " key=" + strings.Repeat("k", 256) + " "},
		"a MB":                        {strings.Repeat("k", 1<<20), " key=" + strings.Repeat("k", 256) + "... "},
		"characters of several bytes": {strings.Repeat("k", 255) + "é€", " key=" + strings.Repeat("k", 255) + "... "},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				out := &buffer{}
				log := memory.NewLog("posts", 1)
				log.Append(0, keystrand.Message{Key: []byte(tc.key), Value: []byte("v")})
				log.Close()
				err := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Logger(out.logger()).
					HandleFunc(func(context.Context, *keystrand.Message) error { return keystrand.Permanent(errBoom) }).
					OnFailure(pipeline.DeadLetter(limited(0), pipeline.Fallback(pipeline.Skip)))).wait()
				if err != nil {
					t.Fatal(err)
				}
				lines := 0
				for line := range strings.Lines(out.String()) {
					if !strings.Contains(line, "became=") {
						continue
					}
					if lines++; !strings.Contains(line, tc.want) {
						t.Errorf("no%sin %.600s", tc.want, line)
					}
				}
				if lines != 3 {
					t.Errorf("%d lines about the message; want dead-lettered, fewer headers, skipped", lines)
				}
			})
		})
	}
}

// An error may quote a whole message, or more. The log has 4 KiB of it in each line.
func TestLogCutsLongErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := &buffer{}
		log := memory.NewLog("posts", 1)
		log.Append(0, keyed("k"))
		log.Close()
		err := start(t, pipeline.From(watch(t, memory.NewSource(memory.Config{}, log), nil)).Logger(out.logger()).
			HandleFunc(func(context.Context, *keystrand.Message) error { return errors.New(strings.Repeat("x", 1<<20)) }).
			OnFailure(pipeline.DeadLetter(refusing(strings.Repeat("y", 1<<20)), pipeline.Fallback(pipeline.Skip)))).wait()
		if err != nil {
			t.Fatal(err)
		}
		lines := 0
		for line := range strings.Lines(out.String()) {
			if strings.Contains(line, "became=") {
				lines++
			}
			if len(line) > 5000 {
				t.Errorf("a line has %d bytes: %.200s", len(line), line)
			}
		}
		if lines != 3 {
			t.Errorf("%d lines about the message; want dead-lettered, fewer headers, skipped", lines)
		}
	})
}

// refusing is a sink that refuses all messages for good.
func refusing(why string) *sinkmemory.Sink {
	s := sinkmemory.New()
	s.SetFault(func(context.Context, *keystrand.Message) error { return keystrand.Permanent(errors.New(why)) })
	return s
}
