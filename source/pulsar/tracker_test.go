package pulsar

// tracker is what the client library knows of the messages of one delivered batch: which of them were acknowledged.
type tracker struct{ acked []bool }

func (t *tracker) ack(i int32) (whole bool) {
	t.acked[i] = true
	for _, a := range t.acked {
		if !a {
			return false
		}
	}
	return true
}
