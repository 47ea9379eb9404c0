package bench

// Rounds has the result of each engine in each round: by engine, then by round. Form ratios within a round: the speed of a
// shared machine changes from minute to minute.
type Rounds[T any] [][]T

// Alternate calls measure for each engine in each round. The first two engines swap places each round. An engine for which once
// reports true is measured in the first round only; a nil once measures all in all rounds.
func Alternate[T any](rounds, engines int, once func(engine int) bool, measure func(round, engine int) (T, error)) (Rounds[T], error) {
	all := make(Rounds[T], engines)
	for round := range rounds {
		for i := range engines {
			if round%2 == 1 && i < 2 && engines > 1 {
				i = 1 - i // A B, B A
			}
			if round > 0 && once != nil && once(i) {
				continue
			}
			res, err := measure(round, i)
			if err != nil {
				return nil, err
			}
			all[i] = append(all[i], res)
		}
	}
	return all, nil
}

// Median returns the median of an engine's figure over the rounds. figure gets the results of this engine and of the first
// one in the same round.
func (r Rounds[T]) Median(engine int, figure func(res, first T) float64) float64 {
	figures := make([]float64, len(r[engine]))
	for round := range figures {
		figures[round] = figure(r[engine][round], r[0][round])
	}
	return Median(figures)
}
