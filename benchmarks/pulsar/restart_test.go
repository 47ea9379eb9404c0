package main

import "testing"

func TestRestartThatLosesOrRepeatsMoreThanWasToldIsAnError(t *testing.T) {
	for _, c := range []struct {
		name    string
		row     restartRow
		forgets bool
		broken  bool
	}{
		{"nothing is lost, and what was told comes again", restartRow{Told: 7, Replayed: 7}, false, false},
		{"one is lost", restartRow{Lost: 1}, false, true},
		{"one is lost where the broker forgets", restartRow{Lost: 1}, true, true},
		{"more than was told comes again", restartRow{Told: 7, Replayed: 8}, false, true},
		{"more than was told comes again where the broker forgets", restartRow{Replayed: 8}, true, false},
	} {
		if err := c.row.broken(c.forgets); (err != nil) != c.broken {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
