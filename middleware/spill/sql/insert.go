package sql

import (
	"strconv"
	"strings"

	"github.com/keystrand/keystrand/internal/sqlstore"
)

// insertRows returns the statement that inserts records as rows of values.
func insertRows(partition int64, entries []entry) (string, []any) {
	args := make([]any, 0, 5*len(entries))
	for _, e := range entries {
		args = append(args, partition, []byte(e.hash), e.offset, e.size, e.form)
	}
	return "INSERT INTO keystrand_spill_records (partition_id, hash, record_offset, size, message) VALUES " + sqlstore.Lists(len(entries), 5), args
}

// insertPacked returns the statement that inserts records whose bytes are in one value, and whose numbers are arrays, as text
// that every driver can send. PostgreSQL and its driver need much less CPU time for it than for rows of values.
func insertPacked(partition int64, entries []entry) (string, []any) {
	total := 0
	for _, e := range entries {
		total += len(e.form)
	}
	hashes, forms := make([]byte, 0, 32*len(entries)), make([]byte, 0, total)
	var offsets, sizes, starts, lengths []int64
	for _, e := range entries {
		offsets, sizes = append(offsets, e.offset), append(sizes, e.size)
		starts, lengths = append(starts, int64(len(forms)+1)), append(lengths, int64(len(e.form)))
		hashes, forms = append(hashes, e.hash...), append(forms, e.form...)
	}
	return packedInsert, []any{partition, hashes, forms, array(offsets), array(sizes), array(starts), array(lengths)}
}

const packedInsert = `WITH packed AS (SELECT CAST(? AS bigint) AS id, CAST(? AS bytea) AS hashes, CAST(? AS bytea) AS messages)
INSERT INTO keystrand_spill_records (partition_id, hash, record_offset, size, message)
SELECT p.id, substring(p.hashes FROM CAST(32 * n - 31 AS integer) FOR 32), r.record_offset, r.size, substring(p.messages FROM r.start FOR r.length)
FROM packed p, unnest(CAST(CAST(? AS text) AS bigint[]), CAST(CAST(? AS text) AS bigint[]),
	CAST(CAST(? AS text) AS integer[]), CAST(CAST(? AS text) AS integer[])) WITH ORDINALITY AS r (record_offset, size, start, length, n)`

// array returns numbers as text that PostgreSQL reads as an array.
func array(numbers []int64) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, n := range numbers {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(strconv.FormatInt(n, 10))
	}
	b.WriteByte('}')
	return b.String()
}
