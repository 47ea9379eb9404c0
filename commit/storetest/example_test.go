package storetest_test

import (
	"context"
	"fmt"

	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/commit/storetest"
)

// In a test it is one call: storetest.Run(t, newEnv). Here some cases run by themselves, on a store without a server to stop.
func ExampleCases() {
	for _, c := range storetest.Cases() {
		switch c.Name {
		case "SavedIsClaimed", "OlderEpochIsRefused", "KilledInSave":
		default:
			continue
		}
		s := newMemory() // a store of your own
		err := c.Run(context.Background(), storetest.Env{Open: func() (commit.Store, error) { return s, nil }})
		fmt.Printf("%s: %v\n", c.Name, err)
	}
	// Output:
	// SavedIsClaimed: <nil>
	// OlderEpochIsRefused: <nil>
	// KilledInSave: storetest: not tested: needs Env.Kill
}
