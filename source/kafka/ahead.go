package kafka

import (
	"context"
	"log/slog"

	"github.com/keystrand/keystrand/commit"
)

// cutAhead drops what was settled ahead and is not in the log any more: after an unclean election other messages stand
// there. (Below the frontier the reader notices it.)
func (s *Source) cutAhead(ctx context.Context, memories map[partitionName]memory) error {
	asked := make(map[string]map[int32]int32)
	for n, m := range memories {
		if len(m.ahead) > 0 && m.aheadEpoch >= 0 {
			if asked[n.Topic] == nil {
				asked[n.Topic] = make(map[int32]int32)
			}
			asked[n.Topic][n.Number] = m.aheadEpoch
		}
	}
	for topic, epochs := range asked {
		var ends map[int32]int64
		err := s.retry(ctx, "find leader epochs", func(ctx context.Context) (err error) {
			ends, err = s.reading.Cluster.EpochEnds(ctx, topic, epochs)
			return err
		})
		if err != nil {
			return err
		}
		for number, end := range ends {
			n := partitionName{Topic: topic, Number: number}
			m := memories[n]
			before := len(m.ahead)
			last := m.ahead[before-1].To
			if m.ahead = below(m.ahead, end); end >= last {
				continue
			}
			memories[n] = m
			s.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "kafka: the log was cut below what was settled ahead; what stands there now is handled",
				slog.String("group", s.group), slog.String("stream", topic), slog.Int("partition", int(number)),
				slog.Int64("cut_at", end), slog.Int64("settled_to", last))
		}
	}
	return nil
}

// below returns the parts of ranges that lie below end.
func below(ranges []commit.Range, end int64) []commit.Range {
	var kept []commit.Range
	for _, r := range ranges {
		if r.To = min(r.To, end); r.From < r.To {
			kept = append(kept, r)
		}
	}
	return kept
}
