package fetch

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// ends checks End and LogEnd; -1 is unknown.
func ends(t *testing.T, when string, r *Reader, end, logEnd int64) {
	t.Helper()
	e, known := r.End()
	l, also := r.LogEnd()
	if e != end || known != (end >= 0) || l != logEnd || also != (logEnd >= 0) {
		t.Errorf("%s: End = %d, %v, LogEnd = %d, %v, want %d and %d", when, e, known, l, also, end, logEnd)
	}
}

func TestOpenTransactionIsReportedWithItsOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		var held, largest atomic.Int64
		k.Serve(func(offset int64, maxBytes int32) kafkatest.Answer {
			largest.Store(max(largest.Load(), int64(maxBytes)))
			a := kafkatest.Answer{End: 1006 - held.Load(), Held: held.Load()}
			if offset < a.End {
				a.Set = kafkatest.Batch{Base: offset, Last: int32(a.End-offset) - 1, Records: []int{0}}.Bytes()
			}
			return a
		})
		held.Store(1001)
		told := &logs{}
		k.cfg.Log = told.logger()
		r := newReader(t, k.cfg, 0)
		ends(t, "before the first fetch", r, -1, -1)
		if _, err := readTo(t, r, 5); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ended := make(chan error)
		go func() { ended <- r.Read(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1}) }()
		time.Sleep(29 * time.Second)
		ends(t, "while a transaction is open", r, 5, 1006)
		if r.Stalled() || len(r.Troubles()) > 0 {
			t.Errorf("stalled after 29 s: %v", r.Troubles())
		}
		asked := largest.Load()
		time.Sleep(2 * time.Minute)
		all := r.Troubles()
		if !r.Stalled() || len(all) != 1 || all[0].What != "read committed" || time.Since(all[0].Since) < 2*time.Minute {
			t.Fatalf("stalled %v, troubles %v", r.Stalled(), all)
		}
		for _, want := range []string{"topic t partition 0", "offset 5 ", "ends at 1006", "find-hanging --topic t --partition 0"} {
			if !strings.Contains(all[0].Err.Error(), want) {
				t.Errorf("%v does not contain %q", all[0].Err, want)
			}
		}
		if n := told.count("open transaction"); n != 1 || told.count("renewing") != 0 || largest.Load() > asked {
			t.Errorf("logged %d times; requests of up to %d bytes, %d before", n, largest.Load(), asked)
		}
		held.Store(0)
		if err := <-ended; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if n := told.count("no longer stalled"); n != 1 || r.Stalled() || len(r.Troubles()) > 0 {
			t.Errorf("after the end of the transaction: logged %d times, stalled %v, troubles %v", n, r.Stalled(), r.Troubles())
		}
		ends(t, "after the end of the transaction", r, 1006, 1006)
	})
}

// Transactions that follow each other hold something back at any moment, and nothing hangs.
func TestTransactionsThatEndAreNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		began := time.Now()
		k.Serve(func(offset int64, _ int32) kafkatest.Answer {
			a := kafkatest.Answer{End: int64(time.Since(began) / (10 * time.Second)), Held: 7}
			if offset < a.End {
				a.Set = kafkatest.Batch{Base: offset, Last: int32(a.End-offset) - 1, Records: []int{0}}.Bytes()
			}
			return a
		})
		told := &logs{}
		k.cfg.Log = told.logger()
		r := newReader(t, k.cfg, 0)
		for range 60 {
			if _, err := readTo(t, r, r.Position()+1); err != nil || r.Stalled() {
				t.Fatalf("stalled %v, %v", r.Stalled(), err)
			}
		}
		if n := told.count("open transaction"); n != 0 {
			t.Errorf("logged %d times", n)
		}
	})
}

func TestReadUncommittedHasOneEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		plain, tx := k.Producer(t), k.Producer(t, kgo.TransactionalID("x"))
		kafkatest.Produce(t, plain, 5)
		if err := tx.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		kafkatest.Produce(t, tx, 1)
		kafkatest.Produce(t, plain, 1000)
		committed := newReader(t, k.cfg, 0)
		if _, err := readTo(t, committed, 5); err != nil {
			t.Fatal(err)
		}
		ends(t, "committed", committed, 5, 1006)
		k.cfg.Cluster.ReadUncommitted = true
		all := newReader(t, k.cfg, 0)
		if _, err := readTo(t, all, 1006); err != nil {
			t.Fatal(err)
		}
		ends(t, "uncommitted", all, 1006, 1006)
	})
}

func TestEndIsUnknownWhileItCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		answer kafkatest.Answer
		after  time.Duration
	}{
		"an error":                    {kafkatest.Answer{Code: 56}, 2 * time.Second},
		"responses without partition": {kafkatest.Answer{Absent: true}, 11 * time.Second},
		"throttled responses":         {kafkatest.Answer{Absent: true, Throttle: 2 * time.Second}, 14 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				var broken atomic.Bool
				k.Serve(func(offset int64, _ int32) kafkatest.Answer {
					if broken.Load() {
						return c.answer
					}
					a := kafkatest.Answer{End: 1}
					if offset < a.End {
						a.Set = kafkatest.Batch{Base: offset, Records: []int{0}}.Bytes()
					}
					return a
				})
				r := newReader(t, k.cfg, 0)
				ends(t, "before the first fetch", r, -1, -1)
				if _, err := readTo(t, r, 1); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan struct{})
				go func() {
					_ = r.Read(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1})
					close(ended)
				}()
				time.Sleep(time.Second)
				ends(t, "at the end", r, 1, 1)
				broken.Store(true)
				time.Sleep(c.after)
				ends(t, "while it cannot be read", r, -1, -1)
				if all := r.Troubles(); (c.answer.Code != 0) != (len(all) == 1 && all[0].What == "fetch") {
					t.Errorf("troubles %v", all)
				}
				broken.Store(false)
				time.Sleep(10 * time.Second)
				ends(t, "afterwards", r, 1, 1)
				if all := r.Troubles(); len(all) != 0 {
					t.Errorf("troubles %v", all)
				}
				cancel()
				<-ended
			})
		})
	}
}

// A broker that cannot be reached answers nothing.
func TestEndIsUnknownWhileTheBrokerIsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		kafkatest.Produce(t, k.Producer(t), 1)
		r := newReader(t, k.cfg, 0)
		if _, err := readTo(t, r, 1); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			_ = r.Read(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1})
			close(ended)
		}()
		k.Close()
		time.Sleep(time.Minute)
		ends(t, "while the broker is down", r, -1, -1)
		if all := r.Troubles(); len(all) != 1 || all[0].What != "fetch" || time.Since(all[0].Since) < 50*time.Second {
			t.Errorf("troubles %v", all)
		}
		cancel()
		<-ended
	})
}
