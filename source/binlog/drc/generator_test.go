package drc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// generated returns what each topic of a generator has, without times.
func generated(t *testing.T, g Generator) []string {
	t.Helper()
	s, err := NewServer(ServerConfig{Topics: g.TopicNames(), Log: "log1", Retain: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range g.TopicNames() {
		var b strings.Builder
		for _, tx := range s.topics[name].kept {
			for _, l := range tx.lines {
				var r Record
				if err := json.Unmarshal(l.text, &r); err != nil {
					t.Fatal(err)
				}
				r.Time = time.Time{}
				text, err := r.encode()
				if err != nil {
					t.Fatal(err)
				}
				b.Write(text)
			}
		}
		all = append(all, b.String())
	}
	return all
}

func TestTheSameSeedMakesTheSameChanges(t *testing.T) {
	g := Generator{Seed: 7, Topics: 2, Rows: 500, Keys: 100}
	once := generated(t, g)
	if again := generated(t, g); !slices.Equal(once, again) {
		t.Error("the same seed made others")
	}
	if once[0] == strings.ReplaceAll(once[1], "shop2", "shop1") {
		t.Error("two topics have the same changes")
	}
	if g.Seed = 8; slices.Equal(once, generated(t, g)) {
		t.Error("another seed made the same")
	}
}

// TestGeneratedChangesAreThoseOfRealTables applies all changes to tables: images fit, and unique keys are unique.
func TestGeneratedChangesAreThoseOfRealTables(t *testing.T) {
	m := newMaker(Generator{Seed: 3, Keys: 50, DDL: 100}.withDefaults(), 0)
	rows := map[string]map[string][]any{} // by table and id
	owners := map[string]string{}         // by table and code, the id
	seen := map[string]int{}
	everOwned := map[string]string{}
	for range 6000 {
		records := m.next()
		tables := map[string]bool{}
		for _, r := range records {
			if err := r.check(); err != nil {
				t.Fatal(err)
			}
			if r.Type == DDL {
				seen[strings.Fields(r.Query)[0]+" "+strings.Fields(r.Query)[3%len(strings.Fields(r.Query))]]++
				if rows[r.Tables[0]] == nil {
					rows[r.Tables[0]] = map[string][]any{}
				}
				for id, row := range rows[r.Tables[0]] { // NULL in a new column
					row = append(slices.Clone(row[:noteColumn]), nil)
					rows[r.Tables[0]][id] = row
				}
				continue
			}
			tables[r.Table] = true
			seen[string(r.Kind)]++
			table := rows[r.Table]
			if r.Before != nil {
				id := fmt.Sprint(r.Before[idColumn])
				if got := table[id]; !slices.Equal(got[:len(r.Before)], r.Before) {
					t.Fatalf("before image %v of a row %v", r.Before, got)
				}
				delete(table, id)
				if code, ok := r.Before[codeColumn].(string); ok {
					delete(owners, r.Table+code)
				}
			}
			if r.After != nil {
				id := fmt.Sprint(r.After[idColumn])
				if table[id] != nil {
					t.Fatalf("id %s twice in %s", id, r.Table)
				}
				row := slices.Clone(r.After)
				if len(row) == noteColumn {
					row = append(row, nil)
				}
				table[id] = row
				if code, ok := r.After[codeColumn].(string); ok {
					if owners[r.Table+code] != "" {
						t.Fatalf("code %s twice in %s", code, r.Table)
					}
					owners[r.Table+code] = id
					if last := everOwned[r.Table+code]; last != "" && last != id {
						seen["code moves"]++
					}
					everOwned[r.Table+code] = id
				} else {
					seen["NULL code"]++
				}
			}
			if r.Kind == Update && r.Before[idColumn] != r.After[idColumn] {
				seen["id changes"]++
			}
			if r.Kind == Update && r.Before[codeColumn] != r.After[codeColumn] {
				seen["code changes"]++
			}
			if len(table) > 50 {
				t.Fatalf("%s has %d rows", r.Table, len(table))
			}
		}
		if len(tables) > 1 {
			seen["transaction over tables"]++
		}
	}
	for _, want := range []string{
		"insert", "update", "delete", "id changes", "code changes", "code moves", "NULL code", "transaction over tables",
		"ALTER ADD", "ALTER DROP",
	} {
		if seen[want] < 10 {
			t.Errorf("%s: seen %d times of %v", want, seen[want], seen)
		}
	}
}

func TestTheRateHoldsForEachTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Generator{Topics: 3, Rate: 100, Keys: 50}
		s, err := NewServer(ServerConfig{Topics: g.TopicNames()})
		if err != nil {
			t.Fatal(err)
		}
		stop := errors.New("stop")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(20*time.Second, func() { cancel(stop) })
		if err := g.Run(ctx, s); !errors.Is(err, stop) {
			t.Errorf("Run = %v", err)
		}
		for _, name := range g.TopicNames() {
			if n := s.topics[name].info().Records; n < 1990 || n > 2010 {
				t.Errorf("%s has %d records after 20 s, want 2000", name, n)
			}
		}
	})
}

func TestAGeneratorRefusesNegativeNumbersAndAServerWithoutItsTopics(t *testing.T) {
	s, err := NewServer(ServerConfig{Topics: []string{"shop"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range []Generator{{Rows: -1}, {Rate: -1}, {Topics: -1}, {}} {
		if err := g.Run(t.Context(), s); err == nil {
			t.Errorf("%+v: no error", g)
		}
	}
}

func TestARecordedStreamIsServedAgainAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := Generator{Seed: 5, Topics: 1, Rows: 500, DDL: 20}
		s := serve(t, ServerConfig{Topics: g.TopicNames()})
		if err := g.Run(t.Context(), s.Server); err != nil {
			t.Fatal(err)
		}
		if err := s.Append("topic-1", row("db.a", uint64(1<<64-1)), row("db.a", 1e300), row("db.a", nil)); err != nil {
			t.Fatal(err)
		}
		record := func(s *service, topic string) []byte {
			resp := s.get(t, "/topics/"+topic+"/records?timeout=1s") // ends by itself: nobody posts
			var b bytes.Buffer
			_, _ = b.ReadFrom(resp.Body) // a stream that times out may be cut
			return b.Bytes()
		}
		first := record(s, "topic-1")
		again := serve(t, ServerConfig{Topics: []string{"topic-1"}})
		if err := Replay(t.Context(), again.Server, "topic-1", bytes.NewReader(first), 0); err != nil {
			t.Fatal(err)
		}
		plain := func(text []byte) (lines []string) {
			for line := range strings.Lines(string(text)) {
				if !strings.Contains(line, `"type":"heartbeat"`) {
					lines = append(lines, line)
				}
			}
			return lines
		}
		one, two := plain(first), plain(record(again, "topic-1"))
		if !slices.Equal(one, two) || len(one) < 500 {
			t.Errorf("%d lines were recorded, %d are served", len(one), len(two))
		}
	})
}

func TestARecordingThatIsCutOrBrokenIsAnErrorThatNamesTheTransaction(t *testing.T) {
	one := `{"type":"row","table":"db.a","kind":"insert","after":[1],"columns":[{"name":"id","type":"int"}]}` + "\n"
	commit := `{"type":"commit"}` + "\n"
	for name, c := range map[string]struct{ text, want string }{
		"cut between rows": {one + commit + one, "transaction 2 has no commit"},
		"cut in a row":     {one + commit + one[:20], "transaction 2"},
		"not JSON":         {one + commit + "hello", "transaction 2"},
		"an error record":  {one + commit + `{"type":"error","error":{"code":"gone"}}`, `unexpected record of type "error"`},
		"bad row":          {one + commit + commit + strings.Replace(one, "[1]", "[1,2]", 1) + commit, "transaction 2"},
	} {
		s, err := NewServer(ServerConfig{Topics: []string{"shop"}})
		if err != nil {
			t.Fatal(err)
		}
		err = Replay(t.Context(), s, "shop", strings.NewReader(c.text), 0)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if end := s.topics["shop"].info().Records; end != 1 {
			t.Errorf("%s: %d records", name, end)
		}
	}
}
