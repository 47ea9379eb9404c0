package bench

import "slices"

// Median returns the median of figures, or 0 if there are none.
func Median(figures []float64) float64 {
	s := slices.Sorted(slices.Values(figures))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}
