package fetch

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/kafka/internal/kafkatest"
)

// throttling serves a log of end records, and lets as many answers as throttled say wait without data.
type throttling struct {
	end       int64
	throttled atomic.Int64
	pause     time.Duration
	early     atomic.Int64 // requests before the pause was over
	until     time.Time
}

func (s *throttling) answer(offset int64, _ int32) kafkatest.Answer {
	if time.Now().Before(s.until) {
		s.early.Add(1)
	}
	if s.throttled.Add(-1) >= 0 {
		s.until = time.Now().Add(s.pause)
		return kafkatest.Answer{Absent: true, Throttle: s.pause}
	}
	a := kafkatest.Answer{End: s.end}
	if offset < s.end {
		a.Set = kafkatest.Batch{Base: offset, Last: 0, Records: []int{0}}.Bytes()
	}
	return a
}

func TestThrottledResponseIsNoError(t *testing.T) {
	for _, pause := range []time.Duration{0, 20 * time.Millisecond, 3 * time.Second, 40 * time.Second} {
		t.Run(pause.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				s := &throttling{end: 3, pause: pause}
				s.throttled.Store(5)
				k.Serve(s.answer)
				var metadata atomic.Int64
				k.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
					k.KeepControl()
					metadata.Add(1)
					return nil, nil, false
				})
				told := &logs{}
				k.cfg.Log = told.logger()
				k.cfg.Quota = &Quota{}
				r := newReader(t, k.cfg, 0)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				for range 3 {
					b := source.Batch{MaxMessages: 1, MaxBytes: 1 << 20}
					if err := r.Read(ctx, &b); err != nil {
						t.Fatal(err)
					}
				}
				if n := told.count("fetch failed") + told.count("stalled") + told.count("renewing"); n != 0 {
					t.Errorf("%d failures are logged", n)
				}
				if n := told.count("broker throttles this client"); n != min(1, int(pause)) {
					t.Errorf("throttling is logged %d times", n)
				}
				if s.early.Load() > 0 {
					t.Errorf("%d requests came before the time was over", s.early.Load())
				}
				trouble, throttled := k.cfg.Quota.Trouble()
				if throttled != (pause > 0) || throttled && !strings.Contains(trouble.Err.Error(), pause.String()) {
					t.Errorf("trouble %v, want one that names %v", trouble, pause)
				}
			})
		})
	}
}

// Many partitions share a Quota.
func TestThrottlingIsReportedOnceUntilItIsOverForAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		s := &throttling{end: 0, pause: 100 * time.Millisecond}
		k.Serve(s.answer)
		told := &logs{}
		k.cfg.Log, k.cfg.Quota = told.logger(), &Quota{}
		ctx, cancel := context.WithCancel(t.Context())
		for range 20 {
			r := newReader(t, k.cfg, 0)
			go func() { _ = r.Read(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1}) }()
		}
		throttle := func(told1, ended int, active bool) {
			t.Helper()
			n, m := told.count("broker throttles this client"), told.count("throttling ended")
			_, is := k.cfg.Quota.Trouble()
			if n != told1 || m != ended || is != active {
				t.Errorf("told %d times, ended %d times, trouble %v, want %d, %d, %v", n, m, is, told1, ended, active)
			}
		}
		for range 4 { // two minutes with a pause of 40 s each time
			s.throttled.Store(100)
			time.Sleep(40 * time.Second)
		}
		throttle(1, 0, true)
		time.Sleep(time.Minute)
		throttle(1, 1, false)
		s.throttled.Store(1)
		time.Sleep(10 * time.Second)
		throttle(2, 1, true)
		cancel()
	})
}

// The broker does not answer on the connection of a throttled response, and another reader may use that next.
func TestReadersThatShareAQuotaWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		s := &throttling{end: 2, pause: 20 * time.Second}
		s.throttled.Store(1)
		k.Serve(s.answer)
		told := &logs{}
		k.cfg.Log, k.cfg.Quota = told.logger(), &Quota{}
		began := time.Now()
		for i := range 3 {
			r := newReader(t, k.cfg, 0)
			read := make(chan error, 1)
			go func() { read <- r.Read(t.Context(), &source.Batch{MaxMessages: 1, MaxBytes: 1}) }()
			synctest.Wait()
			if i == 0 {
				time.Sleep(5 * time.Second)
				continue
			}
			if err := <-read; err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); s.early.Load() > 0 || took < s.pause {
			t.Errorf("%d requests came before the time was over; read after %v", s.early.Load(), took)
		}
	})
}

// A broker that leaves the partition out for no reason must not stop it in silence.
func TestResponsesThatLackThePartitionAreAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newBroker(t, kfake.SeedTopics(1, "t"))
		s := &throttling{end: 1}
		s.throttled.Store(1 << 40)
		k.Serve(s.answer)
		told := &logs{}
		k.cfg.Log = told.logger()
		r := newReader(t, k.cfg, 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ended := make(chan error)
		go func() { ended <- r.Read(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1}) }()
		time.Sleep(29 * time.Second)
		if r.Stalled() || len(r.Troubles()) > 0 {
			t.Errorf("stalled after 29 s: %v", r.Troubles())
		}
		time.Sleep(3 * time.Second)
		if all := r.Troubles(); !r.Stalled() || len(all) != 1 || all[0].What != "read" {
			t.Errorf("stalled %v, troubles %v", r.Stalled(), all)
		}
		if n := told.count("responses lack the partition"); n != 1 {
			t.Errorf("it is logged %d times", n)
		}
		s.throttled.Store(0)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// A quota of requests throttles responses without messages too.
func TestThrottlingDoesNotHideAnOpenTransaction(t *testing.T) {
	for _, absent := range []int{0, 2, 3} { // each so many responses lacks the partition
		t.Run(fmt.Sprintf("each %d absent", absent), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newBroker(t, kfake.SeedTopics(1, "t"))
				responses := 0
				k.Serve(func(offset int64, _ int32) kafkatest.Answer {
					a := kafkatest.Answer{End: 5, Held: 1001, Throttle: 2 * time.Second}
					if offset < a.End {
						a.Set = kafkatest.Batch{Base: offset, Last: int32(a.End-offset) - 1, Records: []int{0}}.Bytes()
					}
					responses++
					a.Absent = absent > 0 && responses%absent == 0
					return a
				})
				told := &logs{}
				k.cfg.Log = told.logger()
				r := newReader(t, k.cfg, 0)
				if _, err := readTo(t, r, 5); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				_ = r.Read(ctx, &source.Batch{MaxMessages: 1, MaxBytes: 1})
				all := r.Troubles()
				if len(all) != 1 || all[0].What != "read committed" {
					t.Errorf("troubles %v, want an open transaction", all)
				}
				if n := told.count("open transaction"); n != 1 || told.count("no longer stalled")+told.count("renewing") > 0 {
					t.Errorf("logged %d times", n)
				}
			})
		})
	}
}
