package console

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/keystrand/keystrand/pipeline"
)

// text is fmt.Sprintf with durations as people write them, and errors cut.
func text(format string, args ...any) string {
	for i, a := range args {
		switch a := a.(type) {
		case time.Duration:
			args[i] = duration(a)
		case error:
			args[i] = cut(fmt.Sprint(a))
		}
	}
	return fmt.Sprintf(format, args...)
}

// duration returns a duration with at most two units, such as "32 s" or "3 min 20 s".
func duration(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	}
	units := func(large time.Duration, name string, small time.Duration, nameOfSmall string) string {
		text := fmt.Sprintf("%d %s", d/large, name)
		if rest := d % large / small; rest > 0 {
			text += fmt.Sprintf(" %d %s", rest, nameOfSmall)
		}
		return text
	}
	const day = 24 * time.Hour
	switch {
	case d < time.Hour:
		return units(time.Minute, "min", time.Second, "s")
	case d < day:
		return units(time.Hour, "h", time.Minute, "min")
	}
	return units(day, "d", time.Hour, "h")
}

// number returns a number with commas, such as 5,000.
func number[T ~int | ~int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// some returns a number and its noun, such as "1 partition" or "5,000 partitions".
func some[T ~int | ~int64](n T, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return number(n) + " " + noun
}

// were returns some and its verb.
func were[T ~int | ~int64](n T, noun string) string {
	if n == 1 {
		return some(n, noun) + " was"
	}
	return some(n, noun) + " were"
}

// have returns the verb for n.
func have(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

// most is how many bytes of a text from outside a sentence has.
const most = 80

// cut cuts a text from outside, and makes it one line.
func cut(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// keyed names a key, or a message without one by its offset.
func keyed(key string, offset int64) string {
	switch {
	case key != "" && len(key) > most:
		return strings.ToValidUTF8(key[:most], "") + "..."
	case key != "":
		return key
	case offset < 0:
		return "a message without a key"
	}
	return fmt.Sprintf("a message without a key at offset %d", offset)
}

// because says what the first message of a key waits for.
func (d *diagnosis) because(k *pipeline.KeySnapshot) string {
	switch k.Why {
	case pipeline.WhyWorker:
		return "it waits for a worker"
	case pipeline.WhyHandler:
		return text("its handler runs for %v (attempt %d)", d.ago(k.Since), k.Attempt+1)
	case pipeline.WhyRetry:
		return text("it is tried again in %v, after attempt %d: %s", max(0, k.Until.Sub(d.now.At)), k.Attempt, cut(k.Err))
	case pipeline.WhyBlocked:
		if !k.Until.IsZero() {
			return text("it is blocked for %v more: %s", max(0, k.Until.Sub(d.now.At)), cut(k.Err))
		}
		return "it is blocked until Resume: " + cut(k.Err)
	case pipeline.WhyEarlier:
		return "a handler of an earlier ownership still runs"
	case pipeline.WhySink:
		return text("its outputs are not durable for %v", k.Age)
	case pipeline.WhyLetter:
		return text("its dead letter is not durable for %v", k.Age)
	case pipeline.WhyLog:
		return "it waits for the store of diverted keys"
	case pipeline.WhyHeld:
		return "it is held for an operator: " + cut(k.Err)
	}
	return "it waits for " + k.Why.String()
}

// are returns some and its verb.
func are[T ~int | ~int64](n T, noun string) string { return some(n, noun) + " " + isOrAre(int(n)) }

func isOrAre(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func goes(n int) string {
	if n == 1 {
		return "goes"
	}
	return "go"
}

func wait(n int) string {
	if n == 1 {
		return "waits"
	}
	return "wait"
}
