package demux

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/keystrand/keystrand/commit"
)

// catalogueStream is the name of the catalogue in the store, with the name of the source in front. No table has such a name: it
// has no dot.
const catalogueStream = "catalogue"

// catalogue is what the source itself keeps in the store, beside the progress of its tables, since a store cannot list them. It
// is saved before a new table is accepted. So a restart finds every table, also one that was dropped with rows to settle.
//
// A catalogue is safe for concurrent use. save is called by one goroutine at a time.
type catalogue struct {
	store  commit.Store
	stream string
	epoch  int64

	mu   sync.Mutex
	text catalogueText
}

// catalogueText is the form of a catalogue in the store.
type catalogueText struct {
	// Identity is that of the log. Base is the number of the transaction end Begin, where its numbers begin. Both together name
	// the numbering: see logName.
	Identity string `json:"identity"`
	Base     int64  `json:"base"`
	Begin    Place  `json:"begin"`
	// Tables are all tables that were accepted, sorted, but those that are forgotten.
	Tables []string `json:"tables"`
}

// logName names a numbering of a log, as commit.Progress.Log does.
func (c catalogueText) logName() string { return fmt.Sprintf("%s#%d", c.Identity, c.Base) }

// claimCatalogue makes this process the owner of the catalogue. Its Begin is empty if there is none in the store.
func claimCatalogue(ctx context.Context, store commit.Store, prefix string) (*catalogue, error) {
	c := &catalogue{store: store, stream: prefix + catalogueStream}
	p, err := store.Claim(ctx, c.stream, 0, 0)
	if err != nil {
		return nil, fmt.Errorf("claim the list of tables %q: %w", c.stream, err)
	}
	c.epoch = p.Epoch
	if p.At == "" {
		return c, nil
	}
	if c.text, err = readCatalogue(p.At); err != nil {
		return nil, fmt.Errorf("list of tables %q: %w: %w", c.stream, commit.ErrCorrupt, err)
	}
	return c, nil
}

// readCatalogue reads a text of catalogue.save.
func readCatalogue(at string) (text catalogueText, err error) {
	if err := json.Unmarshal([]byte(at), &text); err != nil {
		return text, fmt.Errorf("read %.200q: %w", at, err)
	}
	if text.Begin == "" || text.Base < 0 {
		return text, fmt.Errorf("read %.200q: %w", at, errNoPlace)
	}
	return text, nil
}

// now returns the text.
func (c *catalogue) now() catalogueText {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.text
}

// save stores a text.
func (c *catalogue) save(ctx context.Context, text catalogueText) error {
	at, err := json.Marshal(text)
	if err != nil {
		return fmt.Errorf("encode the list of tables: %w", err)
	}
	p := &commit.Progress{Log: text.logName(), Epoch: c.epoch, Frontier: text.Base, At: string(at)}
	if err := c.store.Save(ctx, c.stream, 0, p); err != nil {
		if errors.Is(err, commit.ErrFenced) {
			err = fmt.Errorf("another process has taken over: stop one of the two, or give each a name of its own; "+
				"or its row was deleted: restart: %w", err)
		}
		return fmt.Errorf("save the list of tables %q: %w", c.stream, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = text
	return nil
}

// without returns the text without tables.
func (c catalogueText) without(tables ...string) catalogueText {
	c.Tables = slices.DeleteFunc(slices.Clone(c.Tables), func(name string) bool { return slices.Contains(tables, name) })
	return c
}

// with returns the text with more tables.
func (c catalogueText) with(tables ...string) catalogueText {
	c.Tables = append(slices.Clone(c.Tables), tables...)
	slices.Sort(c.Tables)
	c.Tables = slices.Compact(c.Tables)
	return c
}
