package pulsar

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// catalog knows the partitions of topics. Safe for concurrent use; shared by the writers of a sink.
type catalog struct {
	sink *Sink

	mu     sync.Mutex
	topics map[string]*topic  // the last that was heard of each; guarded by mu
	asking map[string]*lookup // under way; guarded by mu
}

// topic is one view of a topic. It does not change.
type topic struct {
	name       string
	partitions []string // the topics of its partitions, or only itself
	heard      time.Time
}

// lookup is one question about a topic. Its answer may be read once done is closed.
type lookup struct {
	done  chan struct{}
	topic *topic
	err   error
}

func newCatalog(s *Sink) *catalog {
	return &catalog{sink: s, topics: make(map[string]*topic), asking: make(map[string]*lookup)}
}

// get returns what is known of a topic, asking for it if that is nothing or too old. It returns when ctx ends; the
// question then goes on for those who ask later.
func (c *catalog) get(ctx context.Context, name string) (*topic, error) {
	t, l := c.knownOrAsked(name)
	if l == nil {
		return t, nil
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		if t != nil {
			return t, nil
		}
		return nil, fmt.Errorf("look up its partitions: %w", context.Cause(ctx))
	}
	if l.err != nil && t != nil && cureFor(l.err) == heal {
		return t, nil // an old view is better than none: partitions are seldom added
	}
	return l.topic, l.err
}

func (c *catalog) knownOrAsked(name string) (*topic, *lookup) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.topics[name]
	if t != nil && time.Since(t.heard) <= c.sink.cfg.MetadataMaxAge {
		return t, nil
	}
	l := c.asking[name]
	if l == nil {
		l = &lookup{done: make(chan struct{})}
		c.asking[name] = l
		c.sink.calls.Go(func() { c.ask(name, l) })
	}
	return t, l
}

func (c *catalog) ask(name string, l *lookup) {
	heard := time.Now()
	partitions, err := c.sink.client.Partitions(name)
	if err == nil && len(partitions) == 0 {
		err = fmt.Errorf("impossible answer: it has no partition and is none")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asking, name)
	if err != nil {
		l.err = fmt.Errorf("look up its partitions: %w", err)
	} else {
		l.topic = &topic{name: name, partitions: partitions, heard: heard}
		c.topics[name] = l.topic
	}
	close(l.done)
}

// doubt forgets a topic, so that it is asked for again.
func (c *catalog) doubt(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.topics, name)
}
