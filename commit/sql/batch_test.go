package sql_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand/commit"
	commitsql "github.com/keystrand/keystrand/commit/sql"
)

// counted counts the transactions that end with COMMIT.
func counted(n *atomic.Int64) hook {
	return func(_ context.Context, statement string) (string, error) {
		if statement == "COMMIT" {
			n.Add(1)
		}
		return statement, nil
	}
}

// saveAll saves partitions 0 to n-1 at once, and returns the errors.
func saveAll(ctx context.Context, s commit.Store, n int, epoch func(partition int32) int64, frontier int64) error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = s.Save(ctx, "orders", int32(i), progressAt(epoch(int32(i)), frontier)) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// A second of 1,000 idle partitions beside a busy one: a tenth of them follows on one tick, the busy one also between ticks.
func TestSavesOfATickAreOneTransaction(t *testing.T) {
	db := newFile(t)
	synctest.Test(t, func(t *testing.T) {
		var transactions atomic.Int64
		pool, err := db.open(counted(&transactions))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = pool.Close() }()
		s := db.store(t, pool, commitsql.Config{})
		epochs := make([]int64, 110)
		for i := range epochs {
			epochs[i] = claim(t, s, int32(i)).Epoch
		}
		transactions.Store(0)
		epoch := func(p int32) int64 { return epochs[p] }
		for second := range int64(3) {
			if err := saveAll(t.Context(), s, len(epochs), epoch, second+1); err != nil {
				t.Fatal(err)
			}
			if n := transactions.Swap(0); n != 1 {
				t.Errorf("%d saves were %d transactions, want 1", len(epochs), n)
			}
			time.Sleep(time.Second)
		}
		for i := range epochs {
			if p := claim(t, s, int32(i)); p.Frontier != 3 {
				t.Errorf("partition %d has %+v", i, *p)
			}
		}
	})
}

// The end of the ctx of one Save ends neither the transaction nor the other Saves. Those that come while it runs become the next
// one. When the last caller has left, the transaction ends too.
func TestEndOfOneSaveLeavesTheOthersAlone(t *testing.T) {
	db := newFile(t)
	synctest.Test(t, func(t *testing.T) {
		var transactions atomic.Int64
		hang := make(chan struct{})
		var hanging atomic.Bool
		count := counted(&transactions)
		pool, err := db.open(func(ctx context.Context, statement string) (string, error) {
			if hanging.Load() && statement == "COMMIT" {
				select {
				case <-hang:
				case <-ctx.Done():
					return "", ctx.Err()
				}
			}
			return count(ctx, statement)
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = pool.Close() }()
		s := db.store(t, pool, commitsql.Config{})
		var epochs [6]int64
		for i := range epochs {
			epochs[i] = claim(t, s, int32(i)).Epoch
		}
		transactions.Store(0)
		hanging.Store(true)
		results := make([]chan error, len(epochs))
		cancels := make([]context.CancelFunc, len(epochs))
		begin := func(i int) {
			var ctx context.Context
			ctx, cancels[i] = context.WithCancel(t.Context())
			results[i] = make(chan error, 1)
			go func() { results[i] <- s.Save(ctx, "orders", int32(i), progressAt(epochs[i], 7)) }()
			synctest.Wait() // the first to come begins a transaction
		}
		for i := range 3 { // in the transaction that hangs
			begin(i)
		}
		time.Sleep(time.Second)
		for i := 3; i < 5; i++ { // in the next one
			begin(i)
		}
		for _, i := range []int{0, 3} {
			cancels[i]()
			if err := <-results[i]; !errors.Is(err, context.Canceled) {
				t.Errorf("save %d = %v, want that it was cancelled", i, err)
			}
		}
		close(hang)
		for _, i := range []int{1, 2, 4} {
			if err := <-results[i]; err != nil {
				t.Error(err)
			}
		}
		if n := transactions.Load(); n != 2 {
			t.Errorf("%d transactions, want 2", n)
		}
		hang = make(chan struct{}) // nobody closes it
		begin(5)
		time.Sleep(time.Second)
		cancels[5]()
		if err := <-results[5]; !errors.Is(err, context.Canceled) {
			t.Errorf("save 5 = %v, want that it was cancelled", err)
		}
		hanging.Store(false)
		for i, want := range []int64{7, 7, 7, 0, 7, 0} { // the first was in a transaction that has ended well
			if p := claim(t, s, int32(i)); p.Frontier != want {
				t.Errorf("partition %d has %+v, want the frontier %d", i, *p, want)
			}
		}
		for _, cancel := range cancels {
			cancel()
		}
	})
}

// A store that is away, here a file that another process has locked, is an error of the moment for as long as it takes.
func TestStoreThatIsAwayFor30sGoesOn(t *testing.T) {
	db := newFile(t)
	synctest.Test(t, func(t *testing.T) {
		pool, err := db.open(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = pool.Close() }()
		s := db.store(t, pool, commitsql.Config{})
		epoch := claim(t, s, 1).Epoch
		save(t, s, 1, epoch, 1)
		tx, err := pool.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		failures := 0
		for begun := time.Now(); time.Since(begun) < 30*time.Second; failures++ {
			err := s.Save(t.Context(), "orders", 1, progressAt(epoch, 2))
			if err == nil || errors.Is(err, commit.ErrFenced) || errors.Is(err, commitsql.ErrUnusable) {
				t.Fatalf("Save = %v, want an ordinary error", err)
			}
			if _, err := s.Claim(t.Context(), "orders", 2, 0); err == nil {
				t.Fatal("Claim succeeded")
			}
		}
		if failures != 3 { // a Save and a Claim wait 5 s each
			t.Errorf("%d saves failed in 30 s, want 3", failures)
		}
		if err := tx.Rollback(); err != nil {
			t.Fatal(err)
		}
		save(t, s, 1, epoch, 2)
		if p := claim(t, s, 1); p.Frontier != 2 {
			t.Errorf("claimed %+v", *p)
		}
	})
}

func TestEndedContextStoresNothing(t *testing.T) {
	db := newFile(t)
	s := db.store(t, db.pool(t, nil), commitsql.Config{})
	epoch := claim(t, s, 1).Epoch
	cause := errors.New("the partition leaves")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := s.Save(ctx, "orders", 1, progressAt(epoch, 1)); !errors.Is(err, cause) {
		t.Errorf("Save = %v, want the cause", err)
	}
	if _, err := s.Claim(ctx, "orders", 1, 0); err == nil {
		t.Error("Claim succeeded")
	}
	save(t, s, 1, epoch, 2)
}

// Progress that the database cannot take fails alone.
func TestLiveProgressLargerThanAPacketFailsAlone(t *testing.T) {
	onServices(t, func(t *testing.T, db database) {
		t.Helper()
		if db.dialect == commitsql.PostgreSQL {
			return // its limit is half a GiB
		}
		s := db.store(t, db.pool(t, nil), commitsql.Config{})
		large := &commit.Progress{Epoch: claim(t, s, 0).Epoch, Log: string(make([]byte, 15<<20))} // 20 MiB as a text
		epoch := claim(t, s, 1).Epoch
		var all sync.WaitGroup
		all.Go(func() {
			if err := s.Save(t.Context(), "orders", 0, large); err == nil {
				t.Error("progress of 20 MiB was saved")
			}
		})
		all.Go(func() { save2(t, s, epoch) })
		all.Wait()
		if p := claim(t, s, 1); p.Frontier != 5 {
			t.Errorf("the neighbour has %s", fmt.Sprintf("%+v", *p))
		}
	})
}

func save2(t *testing.T, s commit.Store, epoch int64) {
	t.Helper()
	if err := s.Save(t.Context(), "orders", 1, progressAt(epoch, 5)); err != nil {
		t.Error(err)
	}
}
