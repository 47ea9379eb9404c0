package binlog_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source/binlog"
)

func TestRowSurvivesItsJSONForm(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := rows(tables().Draw(rt, "table")).Draw(rt, "row")
		value, err := want.AppendValue(nil)
		if err != nil {
			rt.Fatal(err)
		}
		if !json.Valid(value) {
			rt.Fatalf("not JSON: %s", value)
		}
		m := &keystrand.Message{Value: value}
		got, err := binlog.RowOf(m)
		if err != nil {
			rt.Fatalf("%v\n%s", err, value)
		}
		sameRow(rt, got, want)
		if again, _ := binlog.RowOf(m); again != got {
			rt.Error("the row is decoded twice")
		}
		if back, err := got.AppendValue(nil); err != nil || string(back) != string(value) {
			rt.Errorf("encoded again: %s, %v\nwas %s", back, err, value)
		}
		a, errA := binlog.Key(m)
		b, errB := binlog.Key(message(want))
		if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
			rt.Errorf("the key is %v (%v), and was %v (%v)", a, errA, b, errB)
		}
	})
}

func sameRow(t interface{ Errorf(string, ...any) }, got, want *binlog.Row) {
	if got.Kind != want.Kind || got.Transaction != want.Transaction || got.Index != want.Index ||
		!slices.EqualFunc(got.Before, want.Before, sameValue) || !slices.EqualFunc(got.After, want.After, sameValue) ||
		(got.Before == nil) != (want.Before == nil) || (got.After == nil) != (want.After == nil) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	a, b := got.Table, want.Table
	if a.Database != b.Database || a.Name != b.Name || a.Whole != b.Whole || !slices.Equal(a.Columns, b.Columns) ||
		!slices.EqualFunc(a.Keys, b.Keys, func(a, b binlog.UniqueKey) bool { return reflect.DeepEqual(a, b) }) {
		t.Errorf("got table %+v, want %+v", a, b)
	}
}

func TestStatementSurvivesItsJSONForm(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }))
		want := &binlog.DDL{Database: text.Draw(rt, "database"), Query: text.Draw(rt, "query"), Transaction: text.Draw(rt, "transaction")}
		if rapid.Bool().Draw(rt, "tables") {
			want.Tables = rapid.SliceOf(text).Draw(rt, "tables")
			want.Apply = rapid.Bool().Draw(rt, "apply")
		}
		value, err := want.AppendValue(nil)
		if err != nil {
			rt.Fatal(err)
		}
		m := &keystrand.Message{Value: value}
		got, err := binlog.DDLOf(m)
		if err != nil || got == nil {
			rt.Fatalf("%v, %v\n%s", got, err, value)
		}
		if !reflect.DeepEqual(got, want) {
			rt.Fatalf("got %+v, want %+v", got, want)
		}
		if k, err := binlog.Key(m); err != nil || !k.IsBarrier() {
			rt.Fatalf("the key is %v, %v", k, err)
		}
	})
}

// The form is what docs/binlog.md describes: programs of others read it.
func TestJSONFormIsStable(t *testing.T) {
	table := accounts()
	table.Columns = append(table.Columns, binlog.Column{Name: "photo", Type: "blob"}, binlog.Column{Name: "ratio", Type: "double"},
		binlog.Column{Name: "price", Type: "decimal", Generated: true}, binlog.Column{Name: "flags", Type: "bit"})
	table.Keys[1].Prefixes = []int{10}
	row := &binlog.Row{
		Table: table, Kind: binlog.Update, Transaction: "0-1-77", Index: 3,
		Before: []any{uint64(18446744073709551615), "Ann \"A\"\n", int64(-1), nil, []byte{0, 1, 255}, negativeZero(), "1.50", uint64(5)},
		After:  []any{uint64(1), "b\xff", uint64(7), int64(2), nil, 1e300, "12345678901234567890.0123456789", int64(5)},
	}
	const want = `{"kind":"update","database":"shop","table":"accounts",` +
		`"before":{"id":18446744073709551615,"email":"Ann \"A\"\n","region":-1,"number":null,"photo":{"base64":"AAH/"},"ratio":-0.0,"price":"1.50","flags":5},` +
		`"after":{"id":1,"email":{"text":"Yv8="},"region":{"uint":7},"number":2,"photo":null,"ratio":1e+300,"price":"12345678901234567890.0123456789","flags":{"int":5}},` +
		`"transaction":"0-1-77","index":3,` +
		`"columns":[{"name":"id","type":"bigint","unsigned":true},{"name":"email","type":"varchar","collation":"utf8mb4_general_ci"},` +
		`{"name":"region","type":"int"},{"name":"number","type":"int"},{"name":"photo","type":"blob"},{"name":"ratio","type":"double"},` +
		`{"name":"price","type":"decimal","generated":true},{"name":"flags","type":"bit"}],` +
		`"keys":[{"name":"PRIMARY","columns":["id"]},{"name":"email","columns":["email"],"prefixes":[10]},{"name":"place","columns":["region","number"]}]}`
	got, err := row.AppendValue(nil)
	if err != nil || string(got) != want {
		t.Errorf("%v\n got %s\nwant %s", err, got, want)
	}
	ddl := &binlog.DDL{Database: "shop", Query: "DROP TABLE `a`", Tables: []string{"shop.a"}, Apply: true, Transaction: "0-1-78"}
	const wantDDL = "{\"kind\":\"ddl\",\"database\":\"shop\",\"query\":\"DROP TABLE `a`\",\"tables\":[\"shop.a\"],\"apply\":true,\"transaction\":\"0-1-78\"}"
	if got, err := ddl.AppendValue(nil); err != nil || string(got) != wantDDL {
		t.Errorf("%v\n got %s\nwant %s", err, got, wantDDL)
	}
}

func negativeZero() float64 { z := 0.0; return -z }

func TestJSONFormOfAnotherReleaseIsRead(t *testing.T) { // in any order, with members that this release does not know
	m := &keystrand.Message{Value: []byte(` { "new":[1], "keys":[], "columns":[{"name":"a","type":"int","new":{}}], "index":0, "transaction":"t",
		"after":{"a":5}, "table":"b", "database":"c", "kind":"insert" } `)}
	r, err := binlog.RowOf(m)
	if err != nil || r.Kind != binlog.Insert || !slices.Equal(r.After, []any{int64(5)}) || r.Table.String() != "c.b" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestErrorsOfAForeignValueSayWhatIsWrong(t *testing.T) {
	good := string(stored(t, &binlog.Row{Table: accounts(), Kind: binlog.Insert, After: []any{uint64(1), "a", nil, nil}}).Value)
	for _, test := range []struct{ name, value, want string }{
		{"no JSON", `hello`, "not the JSON form of a row: invalid character 'h'"},
		{"no UTF-8", "{\"kind\":\"\xff\"}", "it is not UTF-8"},
		{"no object", `[1]`, "not the JSON form"},
		{"another object", `{}`, `the member "kind" is ""`},
		{"unknown kind", `{"kind":"merge"}`, `the member "kind" is "merge": it must be insert, update, delete or ddl`},
		{"members missing", `{"kind":"insert"}`, "the insert lacks the member \"database\"\nthe insert lacks the member \"transaction\"\nthe insert lacks the member \"table\""},
		{"image missing", strings.Replace(good, `"kind":"insert"`, `"kind":"update"`, 1), `the update lacks the member "before"`},
		{"image too many", strings.Replace(good, `"kind":"insert"`, `"kind":"delete"`, 1), `the delete has a member "after"`},
		{"column missing", strings.Replace(good, `"region":null,`, ``, 1), `"after" lacks the column "region"`},
		{"column too many", strings.Replace(good, `"region":null,`, `"region":null,"x":1,`, 1), `"after" has 5 values for 4 columns`},
		{"number too large", strings.Replace(good, `"id":1`, `"id":18446744073709551616`, 1), `column "id" of "after": strconv.ParseUint: parsing "18446744073709551616"`},
		{"boolean", strings.Replace(good, `"id":1`, `"id":true`, 1), `column "id" of "after": true is no value of a row`},
		{"unknown object", strings.Replace(good, `"id":1`, `"id":{"hex":"00"}`, 1), `{"hex":"00"} is no value of a row`},
		{"unknown float", strings.Replace(good, `"id":1`, `"id":{"float":"1"}`, 1), `"1" is no float`},
		{"unknown column in a key", strings.Replace(good, `"columns":["id"]`, `"columns":["id","x"]`, 1), `key "PRIMARY" has the column "x", which the table lacks`},
		{"two columns of one name", strings.Replace(good, `{"name":"email"`, `{"name":"id"`, 1), `two columns have the name "id"`},
		{"prefixes", strings.Replace(good, `"columns":["id"]`, `"columns":["id"],"prefixes":[1,2]`, 1), `key "PRIMARY" has 2 prefixes for 1 columns`},
		{"no text", strings.Replace(good, `"table":"accounts"`, `"table":5`, 1), `5 is no text`},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := &keystrand.Message{Stream: "shop.accounts", Offset: 12, Value: []byte(test.value)}
			_, err := binlog.RowOf(m)
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "shop.accounts/0@12") {
				t.Errorf("error is %v, want %s", err, test.want)
			}
			if outcome, _ := keystrand.OutcomeOf(err); outcome != keystrand.OutcomePermanent {
				t.Errorf("the outcome is %v", outcome)
			}
			if _, err := binlog.DDLOf(m); err == nil {
				t.Error("DDLOf returns no error")
			}
			if _, err := binlog.Key(m); err == nil {
				t.Error("Key returns no error")
			}
		})
	}
	if _, err := binlog.RowOf(&keystrand.Message{Stream: "a.b", Offset: 3}); err == nil || !strings.Contains(err.Error(), "a.b/0@3 has neither a row nor a value") {
		t.Errorf("error of an empty message: %v", err)
	}
}

func TestRowOfTellsStatementsFromRows(t *testing.T) {
	ddl := &binlog.DDL{Query: "TRUNCATE accounts"}
	row := &binlog.Row{Table: accounts(), Kind: binlog.Delete, Before: []any{uint64(1), "a", nil, nil}}
	for _, m := range []*keystrand.Message{{Native: ddl}, stored(t, ddl)} {
		if _, err := binlog.RowOf(m); !errors.Is(err, binlog.ErrStatement) {
			t.Errorf("RowOf of a statement: %v", err)
		}
		if got, err := binlog.DDLOf(m); err != nil || got.Query != ddl.Query {
			t.Errorf("DDLOf: %v, %v", got, err)
		}
	}
	for _, m := range []*keystrand.Message{message(row), stored(t, row)} {
		if got, err := binlog.RowOf(m); err != nil || got.Kind != binlog.Delete {
			t.Errorf("RowOf: %v, %v", got, err)
		}
		if got, err := binlog.DDLOf(m); err != nil || got != nil {
			t.Errorf("DDLOf of a row: %v, %v", got, err)
		}
	}
}

func TestRowsWithoutAFormSayWhy(t *testing.T) {
	values := []any{uint64(1), "a", nil, nil}
	two := accounts()
	two.Columns[1].Name = "id"
	bad := accounts()
	bad.Columns[1].Name = "\xff"
	far := accounts()
	far.Keys[0].Columns = []int{4}
	for _, test := range []struct {
		name string
		row  binlog.Row
		want string
	}{
		{"too few values", binlog.Row{Table: accounts(), Kind: binlog.Insert, After: values[:3]}, "3 values for 4 columns"},
		{"no kind", binlog.Row{Table: accounts(), After: values}, "its kind is 0"},
		{"no image", binlog.Row{Table: accounts(), Kind: binlog.Update, After: values}, "update, and values before the change: false"},
		{"an image too many", binlog.Row{Table: accounts(), Kind: binlog.Delete, Before: values, After: values}, "delete, and values after the change: true"},
		{"a type", binlog.Row{Table: accounts(), Kind: binlog.Insert, After: []any{1, "a", nil, nil}}, `column "id" has a int`},
		{"two columns of one name", binlog.Row{Table: two, Kind: binlog.Insert, After: values}, `two columns have the name "id"`},
		{"a name", binlog.Row{Table: bad, Kind: binlog.Insert, After: values}, `the name of column 1 is not UTF-8`},
		{"a key", binlog.Row{Table: far, Kind: binlog.Insert, After: values}, `key "PRIMARY" has column 4 of 4`},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.row.Transaction = "0-1-5"
			dst, err := test.row.AppendValue([]byte("x"))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), `row 0 of transaction "0-1-5" in shop.accounts`) {
				t.Errorf("error is %v, want %s", err, test.want)
			}
			if string(dst) != "x" {
				t.Errorf("appended %q", dst)
			}
			_ = lanesOf(t, message(&test.row)) // does not panic
			_ = test.row.Size()
		})
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(stored(f, &binlog.Row{Table: accounts(), Kind: binlog.Update, Before: []any{uint64(1), "a", nil, int64(-3)}, After: []any{uint64(1), "b\xff", []byte("x"), 1.5}}).Value)
	f.Add(stored(f, &binlog.DDL{Query: "DROP TABLE a", Tables: []string{"a.b"}}).Value)
	f.Add([]byte(`{"kind":"insert","database":"a","table":"b","transaction":"","index":0,"columns":[],"keys":[{"name":"a","columns":[]}],"after":{}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		m := &keystrand.Message{Value: value}
		var n keystrand.Native
		if d, err := binlog.DDLOf(m); err != nil {
			return
		} else if d != nil {
			n = d
		} else if n, err = binlog.RowOf(m); err != nil {
			t.Fatal(err)
		}
		once, err := n.AppendValue(nil)
		if err != nil {
			t.Fatal(err)
		}
		key, err := binlog.Key(m)
		if err != nil {
			t.Fatal(err)
		}
		m = &keystrand.Message{Value: once}
		if again, err := binlog.Key(m); err != nil || !reflect.DeepEqual(key, again) {
			t.Fatalf("the key is %v, %v, and was %v", again, err, key)
		}
		if r, err := binlog.RowOf(m); err == nil {
			n = r
		}
		if twice, err := n.AppendValue(nil); err != nil || string(twice) != string(once) {
			t.Fatalf("%v\n%s\n%s", err, once, twice)
		}
	})
}
