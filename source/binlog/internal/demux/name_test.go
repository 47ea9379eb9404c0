package demux

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// The tables of several servers have the same names.
func TestSourcesWithNamesShareAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		logs := map[string]*fakeLog{}
		committed := map[string]int64{}
		for _, name := range []string{"", "north", "south"} {
			logs[name] = newFakeLog(1, "shop.a")
			for range 1 + len(logs) { // as many as nobody else has
				logs[name].commit(rows("shop.a", name))
			}
			committed[name] = 1
		}
		for round := range 2 {
			for name, log := range logs {
				stream := "shop.a"
				if name != "" {
					stream = name + "/" + stream
				}
				r := read(t, log, store, Config{Name: name})
				table := r.tables[stream]
				if table == nil || len(r.tables) != 1 {
					t.Fatalf("%q has the tables %v, want %s", name, r.tables, stream)
				}
				if table.position != committed[name] {
					t.Errorf("%s begins at %d, want %d", stream, table.position, committed[name])
				}
				if n := (log.end() - 1) / 2; round == 0 {
					table.sees(time.Second, slices.Repeat([]string{name}, int(n))...)
				}
				table.commit()
				committed[name] = table.position
				r.close()
			}
		}
	})
}
