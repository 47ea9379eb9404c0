package main

import "testing"

func TestRestartThatLosesOrRepeatsMoreThanWasToldIsAnError(t *testing.T) {
	for _, c := range []struct {
		name   string
		row    restartRow
		broken bool
	}{
		{"none lost, as many replayed as told", restartRow{Told: 7, Replayed: 7}, false},
		{"one lost", restartRow{Lost: 1}, true},
		{"more replayed than told", restartRow{Told: 7, Replayed: 8}, true},
	} {
		if err := c.row.broken(); (err != nil) != c.broken {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
