package pulsar

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
)

// settling is how long changes of ownership are gathered for one line of the log.
const settling = time.Second

// found records that all topics are known, and logs it the first time.
func (s *Source) found(ctx context.Context) {
	s.mu.Lock()
	first := s.state == stateConnecting
	if first {
		s.state = stateContending
	}
	streams := make(map[string]bool)
	for _, c := range s.contenders {
		streams[c.stream] = true
	}
	partitions := len(s.contenders)
	s.mu.Unlock()
	if first {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "pulsar: connected", slog.String("url", s.url), slog.String("member", s.name),
			slog.Int("topics", len(streams)), slog.Int("partitions", partitions))
	}
}

// tellOwned logs the partitions of this process if they have changed since the last line.
func (s *Source) tellOwned(ctx context.Context) {
	s.mu.Lock()
	all, over := len(s.contenders), s.err != nil || s.stopped
	owned := make(map[string][]int)
	n, elections := 0, 0 // owned here, and elsewhere
	for _, c := range s.contenders {
		switch mine, told := c.owns(); {
		case mine:
			owned[c.stream] = append(owned[c.stream], int(c.number))
			n++
		case told:
			elections++
		}
	}
	s.mu.Unlock()
	list := listed(owned)
	if n == 0 && elections == all && all > 0 {
		list = "none"
	}
	if over || list == "" || list == s.known.told { // "": an election is open, or there is no topic
		return
	}
	s.known.told = list
	if n == 0 {
		s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "pulsar: standing by; other processes own all partitions", slog.Int("of", all))
		return
	}
	s.cfg.Logger.LogAttrs(ctx, slog.LevelInfo, "pulsar: partitions owned",
		slog.Int("owned", n), slog.Int("of", all), slog.String("partitions", list))
}

// owns reports whether this process owns the partition now, and whether another process is elected for it.
func (c *contender) owns() (mine, other bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.part != nil && !c.part.tenure.Over(), (c.told || c.unsaid) && !c.active
}

// mostListed bounds the ranges in a line of the log.
const mostListed = 50

// listed returns the numbers of partitions of each stream as ranges.
func listed(owned map[string][]int) string {
	var all []string
	for stream, numbers := range owned {
		slices.Sort(numbers)
		var ranges []string
		for i := 0; i < len(numbers); {
			j := i
			for j+1 < len(numbers) && numbers[j+1] == numbers[j]+1 {
				j++
			}
			one := fmt.Sprint(numbers[i])
			if j > i {
				one = fmt.Sprintf("%d-%d", numbers[i], numbers[j])
			}
			ranges = append(ranges, one)
			i = j + 1
		}
		if len(ranges) > mostListed {
			ranges = append(ranges[:mostListed], "…")
		}
		all = append(all, stream+"/"+strings.Join(ranges, ","))
	}
	slices.Sort(all)
	if len(all) > mostListed {
		all = append(all[:mostListed], "…")
	}
	return strings.Join(all, " ")
}
