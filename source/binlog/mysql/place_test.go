package mysql_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// offline returns a log that makes no connection.
func offline(tb testing.TB) mysql.Log {
	tb.Helper()
	log, err := mysql.NewLog("nowhere:1", binlog.Filter{}, mysql.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = log.Close() })
	return log
}

func TestReachedComparesPlaces(t *testing.T) {
	log := offline(t)
	const a, b = "3e11fa47-71ca-11e1-9e33-c80aa9429562", "4e11fa47-71ca-11e1-9e33-c80aa9429562"
	for _, c := range []struct {
		at, want demux.Place
		reached  bool
	}{
		{"mariadb:0-1-10", "mariadb:0-1-10", true},
		{"mariadb:0-1-10", "mariadb:0-2-9", true},   // of the primary before
		{"mariadb:0-1-10", "mariadb:0-2-10", false}, // of a replica that has gone another way
		{"mariadb:0-1-10", "mariadb:0-1-11", false},
		{"mariadb:0-1-10,1-1-5", "mariadb:1-1-5", true},
		{"mariadb:0-1-10", "mariadb:0-1-10,1-1-5", false},
		{"mariadb:0-1-10", "mariadb:", true},
		{"mysql:" + a + ":1-10", "mysql:" + a + ":3", true},
		{"mysql:" + a + ":1-10", "mysql:" + a + ":3-11", false},
		{"mysql:" + a + ":1-10", "mysql:" + a + ":1-10," + b + ":1", false},
		{"mysql:" + a + ":1-2:tag:1-5", "mysql:" + a + ":tag:4", true},
		{"mysql:" + a + ":1-9", "mysql:" + a + ":tag:4", false},
		{"file:s bin.000002 4", "file:s bin.000001 9999", true},
		{"file:s bin.000002 5000000000", "file:s bin.000002 4999999999", true},
		{"file:s bin.000010 4", "file:s bin.000009 4", true},
		{"file:s bin.1000000 4", "file:s bin.999999 4", true},
		{"file:s bin.000002 4", "file:s bin.000002 5", false},
	} {
		if got, err := log.Reached(c.at, c.want); err != nil || got != c.reached {
			t.Errorf("Reached(%s, %s) = %v, %v, want %v", c.at, c.want, got, err, c.reached)
		}
	}
	for _, pair := range [][2]demux.Place{
		{"mariadb:0-1-1", "mysql:" + a + ":1"},
		{"mariadb:0-1-1", "file:s bin.000001 4"},
		{"file:s bin.000001 4", "file:other bin.000001 5"},
		{"", "mariadb:0-1-1"},
		{"mariadb:0-1", "mariadb:0-1-1"},
		{"mariadb:0-1-1,0-2-2", "mariadb:0-1-1"},
		{"mysql:x:1", "mysql:" + a + ":1"},
		{"file:s bin 4", "file:s bin.000001 4"},
		{"file:s bin.000001 x", "file:s bin.000001 4"},
		{"file:bin.000001", "file:s bin.000001 4"},
	} {
		if _, err := log.Reached(pair[0], pair[1]); err == nil || log.Temporary(err) {
			t.Errorf("Reached(%s, %s): error %v, want a final one", pair[0], pair[1], err)
		}
	}
}

// A place is modelled as the set of its transactions.
func TestLowestIsReachedByAllPlaces(t *testing.T) {
	log := offline(t)
	rapid.Check(t, func(t *rapid.T) {
		mariadb := rapid.Bool().Draw(t, "mariadb")
		server := func(domain, number int) int { return 1 + (domain+number)%2 } // the primary of that time
		place := func() (demux.Place, map[string]bool) {
			has := make(map[string]bool)
			var words []string
			for domain := range 3 {
				if !rapid.Bool().Draw(t, "domain") {
					continue
				}
				if mariadb {
					last := rapid.IntRange(1, 9).Draw(t, "last")
					for n := range last {
						has[fmt.Sprint(domain, n+1)] = true
					}
					words = append(words, fmt.Sprintf("%d-%d-%d", domain, server(domain, last), last))
					continue
				}
				for n := 1; n < 10; n++ {
					if rapid.Bool().Draw(t, "has") {
						has[fmt.Sprint(domain, n)] = true
						words = append(words, fmt.Sprintf("0000000%d-71ca-11e1-9e33-c80aa9429562:%d", domain, n))
					}
				}
			}
			form := "mysql:"
			if mariadb {
				form = "mariadb:"
			}
			return demux.Place(form + strings.Join(words, ",")), has
		}
		var places []demux.Place
		all := make(map[string]int)
		n := rapid.IntRange(1, 4).Draw(t, "places")
		for range n {
			p, has := place()
			places = append(places, p)
			for g := range has {
				all[g]++
			}
		}
		low, err := log.Lowest(places...)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range places {
			if ok, err := log.Reached(p, low); !ok || err != nil {
				t.Fatalf("%s has not reached the lowest, %s: %v", p, low, err)
			}
		}
		for g, count := range all { // what all have, the lowest has
			if count < n {
				continue
			}
			var domain, number int
			if _, err := fmt.Sscan(g, &domain, &number); err != nil {
				t.Fatal(err)
			}
			one := demux.Place(fmt.Sprintf("mysql:0000000%d-71ca-11e1-9e33-c80aa9429562:%d", domain, number))
			if mariadb {
				one = demux.Place(fmt.Sprintf("mariadb:%d-%d-%d", domain, server(domain, number), number))
			}
			if ok, err := log.Reached(low, one); !ok || err != nil {
				t.Fatalf("lowest %s of %s has not %s: %v", low, places, one, err)
			}
		}
	})
}

func FuzzReachedNeverPanics(f *testing.F) {
	for _, s := range []string{"mariadb:0-1-10,1-2-3", "mysql:3e11fa47-71ca-11e1-9e33-c80aa9429562:1-10:tag:4", "file:1@h:3306 bin.000001 4", "file: . 4"} {
		f.Add(s, s+"1")
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		log := offline(t)
		at, want := demux.Place(a), demux.Place(b)
		if ok, err := log.Reached(at, want); err == nil && ok {
			low, err := log.Lowest(at, want)
			if err != nil && a != b {
				t.Fatalf("Reached(%q, %q), and Lowest: %v", a, b, err)
			}
			if back, e := log.Reached(low, want); err == nil && (e != nil || !back) {
				t.Fatalf("the lowest of %q and %q is %q", a, b, low)
			}
		}
	})
}
