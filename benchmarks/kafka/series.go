package main

import "github.com/keystrand/keystrand/benchmarks/internal/bench"

// series are the results of several runs, a slice each with one a round.
type series[R any] [][]R

// inTurns does each of n runs once a round, so that what changes from one round to the next is the same for all. Where
// once says so a run is done in the first round alone.
func inTurns[R any](rounds, n int, once func(i int) bool, do func(round, i int) (R, error)) (series[R], error) {
	s := make(series[R], n)
	for round := range rounds {
		for i := range n {
			if round > 0 && once(i) {
				continue
			}
			res, err := do(round, i)
			if err != nil {
				return nil, err
			}
			s[i] = append(s[i], res)
		}
	}
	return s, nil
}

// median returns that of a figure of run i over its rounds, which f forms from its result and that of the first run in
// the same round.
func (s series[R]) median(i int, f func(res, first R) float64) float64 {
	var figures []float64
	for round, res := range s[i] {
		figures = append(figures, f(res, s[0][round]))
	}
	return bench.Median(figures)
}
