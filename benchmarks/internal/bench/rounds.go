package bench

// Rounds is what each engine has given in each round: by engine, then by round. Ratios are taken within a round, since the
// speed of a machine that others use changes from minute to minute.
type Rounds[T any] [][]T

// Alternate lets engines measure one after another, round by round; the first two change places each round.
func Alternate[T any](rounds, engines int, measure func(round, engine int) (T, error)) (Rounds[T], error) {
	all := make(Rounds[T], engines)
	for round := range rounds {
		for i := range engines {
			if round%2 == 1 && i < 2 {
				i = 1 - i // A B, B A
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

// Median returns the median over the rounds of a figure of an engine, which may be one beside the first engine's.
func (r Rounds[T]) Median(engine int, figure func(res, first T) float64) float64 {
	figures := make([]float64, len(r[engine]))
	for round := range figures {
		figures[round] = figure(r[engine][round], r[0][round])
	}
	return Median(figures)
}
