package pulsar

import (
	"context"
	"testing"

	"github.com/apache/pulsar-client-go/pulsar"
)

// The library takes the hosts of a URL in turns and waits for each.
func TestHostsThatAnswerArePreferred(t *testing.T) {
	const given, preferred = "pulsar://silent:1,broker:1", "pulsar://broker:1,silent:1"
	prefer := func(_ context.Context, url string) string {
		if url != given {
			t.Errorf("asked about %s, want %s", url, given)
		}
		return preferred
	}
	var got string
	cfg := Config{Client: func(o *pulsar.ClientOptions) { got = o.URL }}.withDefaults()
	c, err := connect(given, prefer, &cfg, &troubles{log: cfg.Logger})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got != preferred {
		t.Errorf("URL = %s, want %s", got, preferred)
	}
}
