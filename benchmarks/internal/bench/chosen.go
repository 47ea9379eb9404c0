package bench

import (
	"fmt"
	"slices"
	"strings"
)

// Chosen returns those of the parts that the comma-separated list names, in the order of parts. An empty list names all.
func Chosen[P any](list string, parts []P, name func(P) string) ([]P, error) {
	if list == "" {
		return parts, nil
	}
	wanted := strings.Split(list, ",")
	var known []string
	var chosen []P
	for _, p := range parts {
		known = append(known, name(p))
		if slices.Contains(wanted, name(p)) {
			chosen = append(chosen, p)
		}
	}
	for _, w := range wanted {
		if !slices.Contains(known, w) {
			return nil, fmt.Errorf("-only %s: unknown part %q; want some of %s", list, w, strings.Join(known, ","))
		}
	}
	return chosen, nil
}
