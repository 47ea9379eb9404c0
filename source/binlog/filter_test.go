package binlog_test

import (
	"strings"
	"testing"

	"github.com/keystrand/keystrand/source/binlog"
)

func TestFilterWantsTables(t *testing.T) {
	for _, test := range []struct {
		name           string
		tables, except []string
		wants, not     string // tables, separated by spaces; "|" between database and table
	}{
		{"all", nil, nil, "shop|orders a.b|c", "mysql|user sys|x performance_schema|y information_schema|z"},
		{"exact names", []string{"shop.orders", "shop.items"}, nil, "shop|orders shop|items", "shop|order shop|Orders shop2|orders mysql|user"},
		{"patterns", []string{"shop*.orders_?", "log.*"}, nil, "shop|orders_1 shop2|orders_x log|a log|a.b log|a/b", "shop|orders_ shop|orders_10 catalog|a"},
		{"a character class", []string{"shop.t[0-9]"}, nil, "shop|t0 shop|t9", "shop|ta shop|t10"},
		{"exceptions", []string{"shop.*"}, []string{"shop.tmp_*", "*.audit"}, "shop|orders", "shop|tmp_1 shop|audit"},
		{"exceptions alone", nil, []string{"*.audit"}, "shop|orders", "shop|audit mysql|user"},
		{"all by a pattern", []string{"*.*"}, nil, "shop|orders", "mysql|user"},
		{"the project's own tables", nil, nil, "shop|keystrand a|not_keystrand_x", "shop|keystrand_commit_progress shop|keystrand_inbox"},
		{"the project's own tables by a pattern", []string{"*.*", "shop.k*"}, nil, "shop|kiosk", "shop|keystrand_commit_progress a|keystrand_inbox"},
		{"the project's own tables by name", []string{"a.keystrand_inbox", "shop.keystrand_*"}, nil, "a|keystrand_inbox shop|keystrand_x", "a|keystrand_x"},
		{"a system database by name", []string{"mysql.*"}, nil, "mysql|user", "sys|user shop|orders"},
		{"names with dots and wildcards", []string{`a\.b.c\.d`, `x.\*`, `y.\\`}, nil, `a.b|c.d x|* y|\`, "a|b.c.d x|y axb|c.d"},
		{"a slash", []string{"a/b.c/d"}, nil, "a/b|c/d", "a|b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := binlog.Filter{Tables: test.tables, Except: test.except}
			if err := f.Check(); err != nil {
				t.Fatal(err)
			}
			for want, list := range map[bool]string{true: test.wants, false: test.not} {
				for name := range strings.FieldsSeq(list) {
					database, table, _ := strings.Cut(name, "|")
					if got := f.Wants(database, table); got != want {
						t.Errorf("wants %s = %t, want %t", name, got, want)
					}
				}
			}
		})
	}
}

func TestFilterNamesAllErrorsAtOnce(t *testing.T) {
	f := binlog.Filter{Tables: []string{"orders", "a.b.c", "shop.", ".x", "shop.[a", "good.*"}, Except: []string{`a.b\`, ""}}
	err := f.Check()
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{`Tables: pattern "orders"`, `"a.b.c"`, `"shop."`, `".x"`, `"shop.[a": a "["`, `Except: pattern "a.b\\"`, `Except: pattern ""`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %s:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "good") || strings.Count(err.Error(), "\n") != 6 {
		t.Errorf("not one line for each error:\n%v", err)
	}
	if f.Wants("shop", "[a") || f.Wants("a", "b.c") {
		t.Error("a bad pattern matches")
	}
}

func TestFilterTextIsTheSameInAnyOrder(t *testing.T) {
	a := binlog.Filter{Tables: []string{"a.b", "c.d", "a.b"}, Except: []string{"x.y"}}
	b := binlog.Filter{Tables: []string{"c.d", "a.b"}, Except: []string{"x.y"}}
	if a.String() != b.String() {
		t.Errorf("%v != %v", a, b)
	}
	for _, other := range []binlog.Filter{{}, {Tables: []string{"a.b c.d"}, Except: []string{"x.y"}}, {Tables: []string{"a.b", "c.d", "x.y"}}} {
		if a.String() == other.String() {
			t.Errorf("%v is the text of two filters", a)
		}
	}
}
