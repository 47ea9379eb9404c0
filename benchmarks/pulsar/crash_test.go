package main

import "testing"

func TestCrashThatLosesOrRepeatsMoreThanWasToldIsAnError(t *testing.T) {
	for _, c := range []struct {
		name   string
		row    crashRow
		broken bool
	}{
		{"none lost, as many replayed as told", crashRow{Told: 7, Replayed: 7}, false},
		{"one lost", crashRow{Lost: 1}, true},
		{"more replayed than told", crashRow{Told: 7, Replayed: 8}, true},
	} {
		if err := c.row.broken(); (err != nil) != c.broken {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
