package pulsar

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// catalog caches the partitions of topics. The writers of a sink share it. It is safe for concurrent use.
type catalog struct {
	sink *Sink

	mu     sync.Mutex
	topics map[string]*topic  // latest metadata of each topic; guarded by mu
	asking map[string]*lookup // running look-ups; guarded by mu
}

// topic is the metadata of a topic at one moment. It is immutable.
type topic struct {
	name       string
	partitions []string  // names of its partitions, or its own name
	heard      time.Time // when it was requested
}

// lookup is one look-up of a topic. Its result may be read after done is closed.
type lookup struct {
	done  chan struct{}
	topic *topic
	err   error
}

func newCatalog(s *Sink) *catalog {
	return &catalog{sink: s, topics: make(map[string]*topic), asking: make(map[string]*lookup)}
}

// get returns the metadata of a topic. It looks the topic up if the metadata is missing or too old. If ctx ends first, the
// look-up continues for later calls.
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
		return nil, fmt.Errorf("look up the partitions: %w", context.Cause(ctx))
	}
	if l.err != nil && t != nil && cureFor(l.err) == heal {
		return t, nil // old metadata is better than none: partitions are rarely added
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
		err = fmt.Errorf("unexpected answer: no partitions")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asking, name)
	if err != nil {
		l.err = fmt.Errorf("look up the partitions: %w", err)
	} else {
		l.topic = &topic{name: name, partitions: partitions, heard: heard}
		c.topics[name] = l.topic
	}
	close(l.done)
}

// doubt removes the metadata of a topic, so that it is looked up again.
func (c *catalog) doubt(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.topics, name)
}
