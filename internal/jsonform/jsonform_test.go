package jsonform

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"
)

type outer struct {
	Name  string
	Took  time.Duration
	Err   error
	Inner []inner
}

type inner struct {
	Age time.Duration
	At  time.Time
}

func (o outer) MarshalJSON() ([]byte, error)     { return Marshal(o) }
func (o *outer) UnmarshalJSON(text []byte) error { return Unmarshal(text, o) }
func (i inner) MarshalJSON() ([]byte, error)     { return Marshal(i) }
func (i *inner) UnmarshalJSON(text []byte) error { return Unmarshal(text, i) }

func TestDurationsHaveUnitsAndErrorsAreTexts(t *testing.T) {
	for want, o := range map[string]outer{
		`{"Name":"a","Took":"1m30s","Err":"no \"leader\"","Inner":[{"Age":"1.5ms","At":"2026-01-02T03:04:05.000000006Z"}]}`: {
			"a", 90 * time.Second, errors.New(`no "leader"`), []inner{{1500 * time.Microsecond, time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)}},
		},
		`{"Name":"","Took":"0s","Err":null,"Inner":null}`:              {},
		`{"Name":"","Took":"0s","Err":"\u003cnil\u003e","Inner":null}`: {Err: (*brokenError)(nil)},
	} {
		got, err := json.Marshal(o)
		if err != nil || string(got) != want {
			t.Errorf("got %s, %v\nwant %s", got, err, want)
		}
	}
}

// brokenError panics where it is nil.
type brokenError struct{ text string }

func (e *brokenError) Error() string { return e.text }

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := outer{Name: rapid.String().Draw(t, "name"), Took: time.Duration(rapid.Int64().Draw(t, "took"))}
		if rapid.Bool().Draw(t, "failed") {
			want.Err = errors.New(rapid.String().Draw(t, "err"))
		}
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			want.Inner = append(want.Inner, inner{time.Duration(rapid.Int64().Draw(t, "age")), time.Unix(rapid.Int64Range(0, 1e10).Draw(t, "at"), 7).UTC()})
		}
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := outer{Err: errors.New("before"), Inner: []inner{{Age: 1}}}
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatalf("%v in %s", err, text)
		}
		again, err := json.Marshal(got)
		if err != nil || string(again) != string(text) || got.Took != want.Took || (got.Err == nil) != (want.Err == nil) {
			t.Fatalf("read %s, %v\nwant %s", again, err, text)
		}
	})
}

func TestBrokenFormsAreErrors(t *testing.T) {
	for _, text := range []string{`[]`, `{"Took":5}`, `{"Took":"5"}`, `{"Err":5}`, `{"Name":5}`, `{"Inner":[{"Age":"1x"}]}`} {
		var o outer
		if err := json.Unmarshal([]byte(text), &o); err == nil {
			t.Errorf("%s is read as %+v, want an error", text, o)
		}
	}
}
