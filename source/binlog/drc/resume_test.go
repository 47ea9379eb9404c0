package drc

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// TestAnyStreamHasExactlyWhatItSelects compares streams with a loop over all that was appended: any transactions, tables,
// patterns, and checkpoints.
func TestAnyStreamHasExactlyWhatItSelects(t *testing.T) {
	tables := []string{"db.a", "db.b", "db.c", "other.a"}
	selects := map[string][]string{ // what each pattern means
		"db.a": {"db.a"}, "db.*": {"db.a", "db.b", "db.c"}, "*.a": {"db.a", "other.a"},
		"*": tables, "db.[bc]": {"db.b", "db.c"}, "x.y": nil,
	}
	rapid.Check(t, func(rt *rapid.T) {
		var appended [][]Record
		for n := range rapid.IntRange(1, 200).Draw(rt, "transactions") {
			var tx []Record
			if rapid.IntRange(0, 9).Draw(rt, "statement") == 0 {
				concerned := rapid.SliceOfNDistinct(rapid.SampledFrom(append(tables, "db.*")), 0, 2, rapid.ID).Draw(rt, "of")
				tx = append(tx, Record{Type: DDL, Query: "x", Tables: concerned})
			} else {
				for i := range rapid.IntRange(1, 4).Draw(rt, "rows") {
					tx = append(tx, row(rapid.SampledFrom(tables).Draw(rt, "table"), n*10+i))
				}
			}
			appended = append(appended, tx)
		}
		place := rapid.IntRange(0, len(appended))
		from := place.Draw(rt, "from")
		own := rapid.MapOfN(rapid.SampledFrom(tables), place, 0, 4).Draw(rt, "own")
		patterns := rapid.SliceOfN(rapid.SampledFrom([]string{"db.a", "db.*", "*.a", "*", "db.[bc]", "x.y"}), 0, 2).Draw(rt, "patterns")
		late := rapid.IntRange(0, len(appended)).Draw(rt, "appended before the stream is opened")

		// The model.
		wanted := map[string]bool{}
		for _, table := range tables {
			wanted[table] = len(patterns) == 0
		}
		for _, p := range patterns {
			for _, table := range selects[p] {
				wanted[table] = true
			}
		}
		after := map[string]int{}
		lowest := from
		for _, table := range tables {
			after[table] = from
			if at, ok := own[table]; ok {
				after[table] = at
				lowest = min(lowest, at)
			}
		}
		var want []Record
		for i, tx := range appended {
			number := i + 1
			sent := number%64 == 0 && number > lowest
			for j, r := range tx {
				concerned := r.Tables
				if r.Type == Row {
					concerned = []string{r.Table}
				}
				if slices.Contains(concerned, "db.*") {
					concerned = nil
				}
				send := len(concerned) == 0 && number > lowest
				for _, table := range concerned {
					send = send || wanted[table] && number > after[table]
				}
				if send {
					r.Transaction, r.Index, sent = int64(number), j+1, true
					want = append(want, r)
				}
			}
			if sent {
				want = append(want, Record{Type: Commit, Transaction: int64(number)})
			}
		}

		pairs := []string{"from", fmt.Sprintf("shop@log1:%d", min(from, late))}
		if from > late {
			rt.Skip("a place ahead of the log")
		}
		for table, at := range own {
			if at > late {
				rt.Skip("a place ahead of the log")
			}
			pairs = append(pairs, "from."+table, fmt.Sprintf("shop@log1:%d", at))
		}
		for _, p := range patterns {
			pairs = append(pairs, "table", p)
		}
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, ServerConfig{})
			for i, tx := range appended {
				if i == late {
					break
				}
				s.append(t, tx...)
			}
			r := s.read(t, query(pairs...))
			for _, tx := range appended[late:] {
				s.append(t, tx...)
			}
			if got, _ := r.take(); short(got) != short(want) {
				rt.Errorf("%v\ngot  %s\nwant %s", pairs, short(got), short(want))
			}
		})
	})
}

func FuzzCheckpointsAreReadBackOrRefused(f *testing.F) {
	for _, text := range []string{
		"shop@log1:7", "oldest", "end", "none", "shop@log1:07", "shop@log1:-1", "@:", "", "shop@log2:9223372036854775807",
	} {
		f.Add(text)
	}
	topic := newTopic("shop", "log1", 1)
	f.Fuzz(func(t *testing.T, text string) {
		p, err := topic.parse(text)
		switch {
		case err != nil && (err.Message == "" || err.Code != BadRequest && err.Code != Foreign):
			t.Errorf("%q: %+v", text, err)
		case err == nil && p >= 0 && topic.checkpoint(p) != text:
			t.Errorf("%q is read as %s", text, topic.checkpoint(p))
		case err == nil && p < 0 && text != "oldest" && text != "end" && text != "none":
			t.Errorf("%q is read as %d", text, p)
		}
	})
}

func FuzzSelectionsAreReadOrRefused(f *testing.F) {
	f.Add("table=db.*&from=shop@log1:0&from.db.a=end&timeout=3s&subscriber=x", "db.a")
	f.Add("table=%5B&from.=oldest", "")
	topic := newTopic("shop", "log1", 1)
	f.Fuzz(func(t *testing.T, query, table string) {
		r, err := parseRequest(topic, query)
		if err != nil {
			return
		}
		if r.selection.from == none {
			return
		}
		if lowest, err := r.selection.begin(topic, 0, 0); err == nil && lowest != 0 {
			t.Errorf("begins at %d of an empty topic", lowest)
		}
		r.selection.sends([]string{table}, 1)
	})
}
