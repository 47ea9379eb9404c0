package main

import (
	"flag"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/source/binlog/drc"
)

func TestRunRefusesFlagsThatCannotWorkBeforeItStartsAnything(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string // in the error
	}{
		{[]string{"-wrong"}, "not defined: -wrong"},
		{[]string{"now"}, `unexpected argument "now"`},
		{[]string{"-rows", "10"}, "use a number from 6000"},
		{[]string{"-mysql", "localhost:3306"}, "-mysql: want user:password@tcp(host:port)/"},
		{[]string{"-slow", "shop1.table1"}, "the tables are topic-1/shop1.table1 to topic-4/shop4.table6"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			flags := flag.NewFlagSet("drc", flag.ContinueOnError)
			flags.SetOutput(io.Discard)
			err := run(flags, tt.args, strings.NewReader(""), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestReportsAreReadAsTheyAreWritten(t *testing.T) {
	e, ok := parseEvent("b topic-1/shop1.table1 17 topic-1@log:4 2")
	if want := (event{change: change{"topic-1/shop1.table1", "topic-1@log:4", 2}, begins: true, offset: 17}); !ok || e != want {
		t.Errorf("event = %+v, %t, want %+v", e, ok, want)
	}
	s, ok := parseStanding("t topic-1/shop1.table1 17 3")
	if want := (standing{"topic-1/shop1.table1", 17, 3}); !ok || s != want {
		t.Errorf("standing = %+v, %t, want %+v", s, ok, want)
	}
	for _, line := range []string{"", "t", "hello", "x topic 1 t 0"} {
		_, isEvent := parseEvent(line)
		if _, isStanding := parseStanding(line); isEvent || isStanding {
			t.Errorf("%q was taken for a report", line)
		}
	}
}

func TestLanesAreTheUniqueValuesBeforeAndAfterAChange(t *testing.T) {
	got := lanesOf(drc.Record{
		Before: []any{1, nil, "x"}, After: []any{2, "b", "y"},
		Columns: []drc.Column{{Name: "id"}, {Name: "code"}, {Name: "note"}},
		Keys:    []drc.Key{{Name: "PRIMARY", Columns: []string{"id"}}, {Name: "code", Columns: []string{"code"}}},
	})
	if want := []string{"PRIMARY 1", "PRIMARY 2", "code b"}; !slices.Equal(got, want) {
		t.Errorf("lanes = %q, want %q", got, want)
	}
}
