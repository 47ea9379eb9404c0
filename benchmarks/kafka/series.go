package main

import "github.com/keystrand/keystrand/benchmarks/internal/bench"

// series has the results of several runs: by run, then by round.
type series[R any] [][]R

// inTurns does each of n runs once a round, so that the machine's changes affect all alike. It does the runs for which once
// reports true in the first round only.
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

// median returns the median, over the rounds, of f for run i. f receives the results of run i and of run 0 in one round.
func (s series[R]) median(i int, f func(res, first R) float64) float64 {
	var figures []float64
	for round, res := range s[i] {
		figures = append(figures, f(res, s[0][round]))
	}
	return bench.Median(figures)
}
