package nearest

import "testing"

func TestNearestNameIsTheOneThatWasMeant(t *testing.T) {
	names := []string{"audit", "comments", "comments.v2", "order-items", "Payments", "x"}
	for name, want := range map[string]string{
		"coments":      "comments",    // one is missing
		"commenttts":   "comments",    // two too many
		"commnets":     "comments",    // swapped
		"COMMENTS":     "comments",    // case
		"comments_v2":  "comments.v2", // a separator
		"order.items":  "order-items",
		"oder-item":    "order-items", // two
		"payments":     "Payments",
		"aduit":        "audit",
		"y":            "x",
		"shipments-eu": "", // nothing is near
		"orders":       "",
	} {
		if got := Name(name, names); got != want {
			t.Errorf("nearest to %q is %q, want %q", name, got, want)
		}
	}
	if got := Name("a", nil); got != "" {
		t.Errorf("nearest of nothing is %q", got)
	}
}
