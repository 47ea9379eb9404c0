package drc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Replay appends a recorded stream to a topic: the lines that a subscriber received, for example written to a file by curl.
// Rate is rows a second; 0 is as fast as the machine can. Numbers and checkpoints are those of the topic, times those of the
// recording. Heartbeats are skipped. Replay returns nil at the end of the recording, and the cause of ctx when that ends.
//
// An error of a line names its transaction. What stands before that transaction is appended.
func Replay(ctx context.Context, s *Server, topic string, recording io.Reader, rate int) error {
	d := json.NewDecoder(recording)
	d.UseNumber() // exact
	pace := newPace(rate)
	var records []Record
	for transactions := 1; ; {
		var r Record
		switch err := d.Decode(&r); {
		case errors.Is(err, io.EOF) && len(records) == 0:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("drc: replay to topic %s: transaction %d has no commit: the recording was cut", topic, transactions)
		case err != nil:
			return fmt.Errorf("drc: replay to topic %s: transaction %d: near byte %d: %w", topic, transactions, d.InputOffset(), err)
		}
		switch r.Type {
		case Row, DDL:
			records = append(records, r)
		case Commit:
			if len(records) == 0 {
				continue // nothing of the transaction was selected
			}
			if err := pace.wait(ctx, len(records)); err != nil {
				return err
			}
			if err := s.Append(topic, records...); err != nil {
				return fmt.Errorf("drc: replay: transaction %d: %w", transactions, err)
			}
			records = records[:0]
			transactions++
		case Heartbeat:
		default:
			return fmt.Errorf("drc: replay to topic %s: transaction %d: unexpected record of type %q", topic, transactions, r.Type)
		}
	}
}
