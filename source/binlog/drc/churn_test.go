package drc

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Three subscribers take turns while four feeds append. Each leaves after a few transactions, in the middle of whatever is
// sent, and comes again behind its last commit. Each must see every transaction once, in order and whole.
func TestSubscribersThatComeAndGoMissNothingWhileManyAppend(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	synctest.Test(t, func(t *testing.T) {
		const feeds, each = 4, 100
		s := serve(t, ServerConfig{})
		var wg sync.WaitGroup
		for feed := range feeds {
			wg.Go(func() {
				for n := range each {
					if err := s.Append("shop", row("db.a", feed), row("db.b", n)); err != nil {
						t.Error(err)
					}
					time.Sleep(time.Millisecond)
				}
			})
		}
		for i := range 3 {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				last := int64(0)
				for last < feeds*each && !t.Failed() {
					resp := s.open(t, fmt.Sprintf("from=shop@log1:%d", last))
					index := 0
					for d, stop := json.NewDecoder(resp.Body), 2+random.IntN(60); stop > 0 && last < feeds*each; {
						var r Record
						if err := d.Decode(&r); err != nil {
							t.Errorf("subscriber %d: %v", i, err)
							return
						}
						switch {
						case r.Type == Heartbeat:
							continue
						case r.Transaction != last+1:
							t.Errorf("subscriber %d: transaction %d after %d", i, r.Transaction, last)
						case r.Type == Row:
							index++
							if r.Index != index {
								t.Errorf("subscriber %d: row %d of transaction %d, want %d", i, r.Index, r.Transaction, index)
							}
						case r.Type == Commit:
							if index != 2 {
								t.Errorf("subscriber %d: transaction %d has %d rows", i, r.Transaction, index)
							}
							last, index = r.Transaction, 0
						}
						stop--
					}
					_ = resp.Body.Close()
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		if info := s.topics["shop"].info(); info.Active != "" || info.Waiting != nil {
			t.Errorf("subscribers are left: %+v", info)
		}
	})
}
