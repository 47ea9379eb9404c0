package buffer

import "testing"

func TestPoolSharesTheLimit(t *testing.T) {
	const limit = 3 << 20
	for _, c := range []struct {
		sharers, lent int64
		most, want    int
	}{
		{1, 0, 4 << 20, 1 << 20},
		{1, 0, 1000, 1000},
		{4, 0, 4 << 20, 256 << 10},
		{4, limit - 100<<10, 4 << 20, 100 << 10}, // the others hold the rest
		{4, 2 * limit, 4 << 20, LeastShare},
		{1000, 0, 4 << 20, LeastShare},
		{0, 0, 4 << 20, 1 << 20},
	} {
		var b Pool
		b.Limit(limit)
		b.sharers.Store(c.sharers)
		b.lent.Store(c.lent)
		if got := b.Share(c.most); got != c.want {
			t.Errorf("%d sharers, %d bytes lent: a share of %d bytes, want %d", c.sharers, c.lent, got, c.want)
		}
	}
	var b Pool
	if got := b.Share(4 << 20); got != 4<<20 {
		t.Errorf("a share of %d bytes without a limit", got)
	}
}

func TestPoolCountsWhatIsLent(t *testing.T) {
	var b Pool
	small, large := b.Lend(10), b.Lend(100_000)
	if got, want := b.Lent(), int64(cap(small)+cap(large)); got != want || len(large) != 100_000 {
		t.Errorf("%d bytes are lent, want %d", got, want)
	}
	b.Return(large)
	if again := b.Lend(10_000); cap(again) > 40_000 {
		t.Errorf("a buffer of 10,000 bytes has %d", cap(again))
	} else {
		b.Return(again)
	}
	b.Return(small)
	b.Return(nil)
	if got := b.Lent(); got != 0 {
		t.Errorf("%d bytes are lent after all came back", got)
	}
}
