package pulsar

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/sink"
)

func TestCheckTellsWhetherTheTopicCanBeWritten(t *testing.T) {
	const good, forGood, again = "", "for good", "again"
	for text, want := range map[string]string{
		"": good,
		"server error: AuthorizationError: Client is not authorized to Produce": forGood,
		"server error: TopicTerminatedError: Topic was already terminated":      forGood,
		"server error: IncompatibleSchema: no":                                  forGood,
		"server error: TopicNotFound: no":                                       forGood,
		"server error: InvalidTopicName: no":                                    forGood,
		"server error: AuthenticationError: no":                                 forGood,
		"server error: MetadataError: Encryption is required in out":            forGood,
		"server error: MetadataError: no":                                       again,
		"server error: NotAllowedError: maximum of producers":                   again,
		"server error: ProducerBlockedQuotaExceededException: no":               again,
		"server error: ProducerBusy: another has the name":                      again,
		"server error: ProducerFenced: another is exclusive":                    again,
		"server error: ServiceNotReady: unloaded":                               again,
		"connection error": again,
	} {
		for _, where := range []string{"open", "look up"} {
			t.Run(where+" "+text, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake(map[string]int{"out": 2})
					hook := func(string) error {
						if text == "" {
							return nil
						}
						return errors.New(text)
					}
					if where == "open" {
						f.openFault = hook
					} else {
						f.askFault = hook
					}
					s := f.sink(t, "out", Config{})
					err := s.Check(t.Context())
					got := map[bool]string{true: again, false: good}[err != nil]
					if o, _ := keystrand.OutcomeOf(err); o == keystrand.OutcomePermanent {
						got = forGood
					}
					if got != want || err != nil && !strings.Contains(err.Error(), "pulsar: write to out: ") {
						t.Errorf("Check: %q: %v; want %q", got, err, want)
					}
					if errors.Is(err, sink.ErrDestination) != (want == forGood) {
						t.Errorf("ErrDestination: %v", err)
					}
					if err := s.Close(); err != nil {
						t.Error(err)
					}
					if len(f.violations) > 0 || f.open["out-partition-0"] > 0 {
						t.Errorf("violations %v, %d producers stay open", f.violations, f.open["out-partition-0"])
					}
				})
			})
		}
	}
}

// A broker does not name its settings.
func TestRefusalNamesTheSettingOfTheBroker(t *testing.T) {
	for text, want := range map[string]string{
		"server error: ProducerBusy: Topic 'out' reached max producers limit":                                                "(raise maxProducersPerTopic",
		"server error: NotAllowedError: Exceed maximum number of topics in namespace.":                                       "(raise maxTopicsPerNamespace",
		"server error: MetadataError: Encryption is required in out":                                                         "(encryptionRequired is set",
		"server error: IncompatibleSchema: Producers cannot send without a schema to topics with a schemawhen it is enabled": "(schemaValidationEnforced is set",
		"server error: ProducerBlockedQuotaExceededError: Cannot create producer on topic with backlog quota exceeded":       "raise the quota)",
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(map[string]int{"out": 0})
			f.openFault = func(string) error { return errors.New(text) }
			s := f.sink(t, "out", Config{HealTimeout: time.Second})
			w, err := s.Open()
			if err != nil {
				t.Fatal(err)
			}
			for where, err := range map[string]error{"Check": s.Check(t.Context()), "Write": w.Write(t.Context(), []keystrand.Message{{Value: []byte("v")}})} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%s: %v, want %q", where, err, want)
				}
			}
			if err := errors.Join(w.Close(), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// A call of the library that hangs ends the Check with its ctx. The next Check waits for the same call.
func TestCheckEndsWithItsContextWhileTheLibraryHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(map[string]int{"out": 0})
		calls := 0
		f.openFault = func(string) error { calls++; time.Sleep(5 * time.Second); return nil }
		s := f.sink(t, "out", Config{})
		began := time.Now()
		for i := range 6 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			err := s.Check(ctx)
			cancel()
			if (err == nil) != (i == 5) {
				t.Errorf("Check %d: %v", i, err)
			}
		}
		if d := time.Since(began); d > 6*time.Second || calls != 1 {
			t.Errorf("took %v and %d calls of the library", d, calls)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// While a Write waits, the sink tells why, before the library's call returns, and nothing once it goes on.
func TestSinkReportsWhyAWriteWaits(t *testing.T) {
	for name, tc := range map[string]struct {
		err   error
		notes string
		want  string
	}{
		"the broker answers":     {errors.New("server error: ServiceNotReady"), "", "pulsar: write to out: open a producer: server error: ServiceNotReady"},
		"the connection refuses": {nil, "Failed to connect to broker.", "pulsar: connect: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(map[string]int{"out": 0})
				s := f.sink(t, "out", Config{HealTimeout: time.Minute})
				heals := time.Now().Add(3 * time.Second)
				f.openFault = func(string) error {
					if time.Now().After(heals) {
						return nil
					}
					if tc.notes != "" {
						s.troubles.note("fake:6650", tc.notes, errors.New("connection refused"))
						time.Sleep(5 * time.Second)
					}
					return tc.err
				}
				w, err := s.Open()
				if err != nil {
					t.Fatal(err)
				}
				done := make(chan error)
				go func() { done <- w.Write(t.Context(), keyed("a=1")) }()
				time.Sleep(time.Second)
				if err := s.Trouble(); fmt.Sprint(err) != tc.want {
					t.Errorf("Trouble: %v, want %s", err, tc.want)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				if err := s.Trouble(); err != nil {
					t.Errorf("Trouble after the Write: %v", err)
				}
				if err := errors.Join(w.Close(), s.Close()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A frozen broker confirms nothing, and nothing fails before HealTimeout.
func TestSinkReportsMissingAnswers(t *testing.T) {
	hang := func(string) error { time.Sleep(5 * time.Second); return nil }
	for want, hangs := range map[string]func(f *fake){
		"write to out: no confirmation":                            func(f *fake) { f.fault = func(string, []keystrand.Message) fault { return swallow } },
		"write to out: open a producer: no answer":                 func(f *fake) { f.openFault = hang },
		"write to out: look up the partitions: no answer from the": func(f *fake) { f.askFault = hang },
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(map[string]int{"out": 0})
			hangs(f)
			s := f.sink(t, "out", Config{})
			w, err := s.Open()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- w.Write(ctx, keyed("a=1")) }()
			time.Sleep(500 * time.Millisecond)
			if err := s.Trouble(); err != nil {
				t.Errorf("Trouble after 0.5 s: %v", err)
			}
			time.Sleep(time.Second)
			if err := s.Trouble(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Trouble: %v, want %q", err, want)
			}
			cancel()
			if err := <-done; err == nil {
				t.Error("Write reports an unconfirmed message as durable")
			}
			if err := errors.Join(s.Trouble(), w.Close(), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

// Event times go out as they came in. One that the client library cannot write is a permanent error that names the message.
func TestTimeGoesOutAsItCameInOrNamesItsMessage(t *testing.T) {
	for name, tc := range map[string]struct {
		at   int64
		good bool
	}{
		"1970":            {0, true},
		"one millisecond": {1, true},
		"today":           {1_764_000_000_123, true},
		"2262":            {9_223_372_035_000, true},
		"before 1970":     {-1, false},
		"1969":            {-14_182_939_876, false},
		"behind 2262":     {9_223_372_036_855, true},
		"year 9999":       {253_402_300_799_000, true},
		"microseconds":    {1_796_026_409_047_000, true},
		"the largest":     {math.MaxInt64, true},
		"the smallest":    {math.MinInt64, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(map[string]int{"out": 0})
				w := f.writer(t, "out", Config{})
				err := w.Write(t.Context(), []keystrand.Message{{Key: []byte("k"), Time: time.UnixMilli(tc.at), Stream: "orders", Partition: 3, Offset: 42}})
				if tc.good {
					if ms := f.read(); err != nil || len(ms) != 1 || ms[0].Time.UnixMilli() != tc.at {
						t.Errorf("%v, stored %v", err, ms)
					}
					return
				}
				p, ok := errors.AsType[*sink.PartialError](err)
				if !ok {
					t.Fatalf("error: %v", err)
				}
				if o, _ := keystrand.OutcomeOf(p.Errs[0]); o != keystrand.OutcomePermanent || !strings.Contains(err.Error(), "orders/3@42") || len(f.read()) != 0 {
					t.Errorf("error: %v, stored %v", err, f.read())
				}
			})
		})
	}
}

func TestCheckOfAClosedSinkIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink(newFake(map[string]int{"out": 1}), "out", Config{}.withDefaults(), &troubles{})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := s.Check(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("Check = %v, and the ctx has ended with %v", err, ctx.Err())
		}
	})
}
