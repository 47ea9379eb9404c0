package main

import "testing"

func TestRestartThatLosesOrRepeatsMoreThanWasToldIsAnError(t *testing.T) {
	for _, c := range []struct {
		name   string
		row    restartRow
		broken bool
	}{
		{"nothing is lost, and what was told comes again", restartRow{Told: 7, Replayed: 7}, false},
		{"one is lost", restartRow{Lost: 1}, true},
		{"more than was told comes again", restartRow{Told: 7, Replayed: 8}, true},
	} {
		if err := c.row.broken(); (err != nil) != c.broken {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
