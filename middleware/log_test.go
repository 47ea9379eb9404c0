package middleware

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
)

func newLog(b *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func TestLogWritesOneLineForEachTurnWithAnError(t *testing.T) {
	cause := errors.New("no route")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	ms := func(n int) []*keystrand.Message {
		all := make([]*keystrand.Message, n)
		for i := range all {
			all[i] = &keystrand.Message{
				Stream: "comments", Partition: 3, Offset: int64(42 + i), Key: []byte("post-7"), Value: []byte("password"), Attempt: int32(2 + i),
				Headers: []keystrand.Header{{Key: "auth", Value: []byte("password")}},
			}
		}
		return all
	}
	for name, x := range map[string]struct {
		ctx      context.Context
		messages int
		err      error
		want     []string
	}{
		"failed":    {t.Context(), 1, cause, []string{"level=ERROR", "stream=comments", "partition=3", "offset=42", `key="\"post-7\""`, "attempt=2", "duration=20ms", "outcome=failed", `error="no route"`}},
		"permanent": {t.Context(), 1, keystrand.Permanent(cause), []string{"level=ERROR", "outcome=permanent"}},
		"retry":     {t.Context(), 1, keystrand.RetryAfter(time.Second, cause), []string{"level=WARN", "outcome=retry", "delay=1s", "no route"}},
		"skip":      {t.Context(), 1, keystrand.Skip("too old"), []string{"level=INFO", "outcome=skipped", "too old"}},
		"later":     {t.Context(), 1, keystrand.Later(time.Second, "limit"), []string{"level=DEBUG", "outcome=postponed", "delay=1s", `msg="message postponed"`}},
		"panic":     {t.Context(), 1, &keystrand.PanicError{Value: "boom", Stack: []byte("main.go:1")}, []string{"level=ERROR", "boom", "stack=main.go:1"}},
		"leaving":   {ended, 1, context.Canceled, []string{"level=INFO", `msg="turn canceled"`}},
		"batch":     {t.Context(), 5, &keystrand.BatchError{Settled: 3, Err: cause}, []string{" offset=45 ", "attempt=5", "messages=5", "settled=3", "outcome=failed"}},
		"unnamed":   {t.Context(), 5, cause, []string{"level=ERROR", " first_offset=42 last_offset=46 ", "attempt=6", "messages=5"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b bytes.Buffer
				end := func(context.Context, *keystrand.Call) error { time.Sleep(20 * time.Millisecond); return x.err }
				if err := turn(x.ctx, end, Log(newLog(&b), LogConfig{}), ms(x.messages)...); err != x.err { //nolint:errorlint // the very error
					t.Errorf("Log returned %v, want the unchanged error %v", err, x.err)
				}
				line := b.String()
				if strings.Count(line, "\n") != 1 {
					t.Errorf("%d lines, want 1: %s", strings.Count(line, "\n"), line)
				}
				for _, want := range x.want {
					if !strings.Contains(line, want) {
						t.Errorf("line %q does not contain %s", line, want)
					}
				}
				if strings.Contains(line, "password") {
					t.Errorf("line contains the value or a header: %s", line)
				}
			})
		})
	}
}

func TestLogWritesSuccessOnlyIfConfigured(t *testing.T) {
	for _, success := range []bool{false, true} {
		var b bytes.Buffer
		if err := turn(t.Context(), returning(nil), Log(newLog(&b), LogConfig{Success: success}), &keystrand.Message{}); err != nil {
			t.Error(err)
		}
		if got := strings.Contains(b.String(), "level=DEBUG"); got != success {
			t.Errorf("Success %v: logged %q", success, b.String())
		}
	}
	if err := mustPanic(t, Log(nil, LogConfig{})); !strings.Contains(err.Error(), "logger") {
		t.Error(err)
	}
}

func TestLogCutsAndQuotesKeys(t *testing.T) {
	for key, want := range map[string]string{
		"plain":                            `"plain"`,
		"":                                 `""`,
		"a\nlevel=ERROR msg=forged":        `"a\nlevel=ERROR msg=forged"`,
		"\xff\x00":                         `"\xff\x00"`,
		strings.Repeat("k", 64):            `"` + strings.Repeat("k", 64) + `"`,
		strings.Repeat("k", 64) + "secret": `"` + strings.Repeat("k", 64) + `"...`,
	} {
		if got := quoteKey([]byte(key)); got != want {
			t.Errorf("quoteKey(%q) = %s, want %s", key, got, want)
		}
	}
	if got := quoteKey(nil); got != "none" {
		t.Errorf("quoteKey(nil) = %s", got)
	}
}
