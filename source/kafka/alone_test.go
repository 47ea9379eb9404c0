// Virtual time: every test here makes a bubble, by inWorld.

package kafka_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/source/kafka"
)

func alone(cfg *kafka.Config) { cfg.Alone = true }

func TestOnlyAMemberThatIsNotAloneMoves(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		for _, c := range []struct {
			alone, moves bool
		}{{false, true}, {true, false}} {
			if s := w.source("g", func(cfg *kafka.Config) { cfg.Alone = c.alone }); s.Moves() != c.moves {
				w.t.Errorf("Alone %v: Moves() = %v", c.alone, s.Moves())
			}
		}
	})
}

func TestSecondMemberIsAnErrorForOneThatIsAlone(t *testing.T) {
	for name, partitions := range map[string]int32{"each has some": 4, "one has none": 1} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, partitions, func(w *world) {
				a, b := w.source("g", alone), w.source("g")
				as := w.accept(a, int(partitions))
				rest := w.join(b, int(partitions)) // in the end
				w.follow(as)
				err := w.acceptErr(a)
				if !errors.Is(err, kafka.ErrNotAlone) || !strings.Contains(err.Error(), `group "g"`) || !strings.Contains(err.Error(), "Config.Alone") {
					w.t.Errorf("Accept = %v, want ErrNotAlone that names group and setting", err)
				}
				_ = a.Close()
				w.close(b, <-rest)
			})
		})
	}
}

// A member that is alone starts again after a crash: the old membership ends with its session, without a generation of two.
func TestMemberThatIsAloneStartsAgain(t *testing.T) {
	inWorld(t, 4, func(w *world) {
		line := &cable{dial: w.dial}
		crashed := w.source("g", alone, func(cfg *kafka.Config) { cfg.Dial = line.connect })
		dead := w.accept(crashed, 4)
		line.cut()
		b := w.source("g", alone)
		bs := w.accept(b, 4)
		line.mend()
		w.follow(dead)
		_ = crashed.Close()
		w.close(b, bs)
	})
}
