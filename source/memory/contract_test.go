package memory_test

import (
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/memory"
	"github.com/keystrand/keystrand/source/sourcetest"
)

func newEnv(*testing.T) sourcetest.Env { return envWith(memory.Config{Group: "saves"}) }

// envWith makes an Env with everything a memory log can do.
func envWith(cfg memory.Config) sourcetest.Env {
	log := memory.NewLog("comments", 3)
	member := func(src source.Source) (*memory.Source, error) {
		s, ok := src.(*memory.Source)
		if !ok {
			return nil, fmt.Errorf("%T is not a memory source", src)
		}
		return s, nil
	}
	return sourcetest.Env{
		Stream:     log.Stream(),
		Partitions: log.Partitions(),
		Group:      cfg.Group,
		Join:       func() (source.Source, error) { return memory.NewSource(cfg, log), nil },
		Produce: func(partition int32, msgs ...keystrand.Message) error {
			log.Append(partition, msgs...)
			return nil
		},
		Skip:     func(partition int32) (int64, error) { return log.Skip(partition, 3), nil },
		Recreate: func() error { log.Recreate(); return nil },
		JoinFinite: func() (source.Source, error) {
			log.Close()
			return memory.NewSource(cfg, log), nil
		},
		Crash: func(src source.Source) error {
			s, err := member(src)
			if err == nil {
				s.Crash()
			}
			return err
		},
		Lose: func(src source.Source, id source.ID) error {
			s, err := member(src)
			if err == nil && !s.Lose(id.Stream, id.Partition) {
				err = fmt.Errorf("%v is not owned", id)
			}
			return err
		},
	}
}

func TestSourceKeepsTheContract(t *testing.T) { sourcetest.Run(t, newEnv) }

func TestSourceKeepsTheContractInABubble(t *testing.T) {
	for _, c := range sourcetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { c.Test(t, newEnv(t)) })
		})
	}
}
