package sql

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/keystrand/keystrand/middleware/spill"
)

// layout is the version of the tables. The form of messages has a version of its own.
const layout = 1

// tables are the tables of Schema.
var tables = []string{"layout", "partitions", "strands", "records"} //nolint:gochecknoglobals // immutable

// Schema returns the statements that create the tables, for a migration of your own: the store creates nothing. Statements end
// with a semicolon and a line. The driver of MariaDB takes one a call: split them there, or set its multiStatements. They fail
// where the tables exist. An unknown dialect has none.
//
// Several stores can use the same tables, if their names differ. Rows belong to the store: change none by hand.
func Schema(d Dialect) string {
	switch d {
	case PostgreSQL:
		return schemaPostgreSQL
	case MariaDB:
		return schemaMariaDB
	}
	return ""
}

// Keys, streams and reasons may have any bytes, and any length: they are bytes in the tables, and found by their SHA-256.
const schemaPostgreSQL = `CREATE TABLE keystrand_spill_layout (
	version integer NOT NULL
);
INSERT INTO keystrand_spill_layout (version) VALUES (1);
CREATE TABLE keystrand_spill_partitions (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	hash bytea NOT NULL UNIQUE,
	name bytea NOT NULL,
	stream bytea NOT NULL,
	number integer NOT NULL,
	claim bigint NOT NULL,
	epoch bigint NOT NULL,
	log bytea NOT NULL
);
CREATE TABLE keystrand_spill_strands (
	partition_id bigint NOT NULL,
	hash bytea NOT NULL,
	strand_key bytea NOT NULL,
	log bytea NOT NULL,
	from_offset bigint NOT NULL,
	high_offset bigint NOT NULL,
	mark_offset bigint NOT NULL,
	records bigint NOT NULL,
	bytes bigint NOT NULL,
	held smallint NOT NULL,
	reason bytea NOT NULL,
	since bigint NOT NULL,
	PRIMARY KEY (partition_id, hash)
);
CREATE TABLE keystrand_spill_records (
	partition_id bigint NOT NULL,
	hash bytea NOT NULL,
	record_offset bigint NOT NULL,
	size bigint NOT NULL,
	message bytea NOT NULL,
	PRIMARY KEY (partition_id, hash, record_offset)
);
`

const schemaMariaDB = `CREATE TABLE keystrand_spill_layout (
	version INTEGER NOT NULL
) ENGINE=InnoDB;
INSERT INTO keystrand_spill_layout (version) VALUES (1);
CREATE TABLE keystrand_spill_partitions (
	id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
	hash BINARY(32) NOT NULL UNIQUE,
	name LONGBLOB NOT NULL,
	stream LONGBLOB NOT NULL,
	number INTEGER NOT NULL,
	claim BIGINT NOT NULL,
	epoch BIGINT NOT NULL,
	log LONGBLOB NOT NULL
) ENGINE=InnoDB;
CREATE TABLE keystrand_spill_strands (
	partition_id BIGINT NOT NULL,
	hash BINARY(32) NOT NULL,
	strand_key LONGBLOB NOT NULL,
	log LONGBLOB NOT NULL,
	from_offset BIGINT NOT NULL,
	high_offset BIGINT NOT NULL,
	mark_offset BIGINT NOT NULL,
	records BIGINT NOT NULL,
	bytes BIGINT NOT NULL,
	held SMALLINT NOT NULL,
	reason BLOB NOT NULL,
	since BIGINT NOT NULL,
	PRIMARY KEY (partition_id, hash)
) ENGINE=InnoDB;
CREATE TABLE keystrand_spill_records (
	partition_id BIGINT NOT NULL,
	hash BINARY(32) NOT NULL,
	record_offset BIGINT NOT NULL,
	size BIGINT NOT NULL,
	message LONGBLOB NOT NULL,
	PRIMARY KEY (partition_id, hash, record_offset)
) ENGINE=InnoDB;
`

// limits is what the database takes.
type limits struct {
	value     int // bytes of a record
	statement int // bytes of the values of a statement, unless one alone is larger
}

// check returns an error that says what to do, unless the database is the right one and has the tables in the layout of this
// version.
func (s *Store) check(ctx context.Context) (limits, error) {
	var version string
	if err := s.db.QueryRowContext(ctx, "SELECT version()").Scan(&version); err != nil {
		return limits{}, err
	}
	if !strings.Contains(version, s.dialect.String()) {
		return limits{}, fmt.Errorf("the store was made for %v, and the database says that it is %.100q: give New the dialect of the database, if there is one: %w",
			s.dialect, version, spill.ErrUnusable)
	}
	packet := int64(maxRecord)
	if s.dialect == MariaDB {
		if err := s.db.QueryRowContext(ctx, "SELECT @@max_allowed_packet").Scan(&packet); err != nil {
			return limits{}, err
		}
	}
	if err := s.checkTables(ctx); err != nil {
		return limits{}, err
	}
	// The rest of the packet is for the other columns, and for what the protocol adds.
	value := int(min(packet, maxRecord)) - 64<<10
	return limits{value: value, statement: min(value, 1<<20)}, nil
}

func (s *Store) checkTables(ctx context.Context) error {
	var names []any
	for _, t := range tables {
		names = append(names, "keystrand_spill_"+t)
	}
	q := "SELECT COUNT(to_regclass(name)) FROM (VALUES (?), (?), (?), (?)) AS names (name)"
	if s.dialect == MariaDB {
		q = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN (?, ?, ?, ?)"
	}
	var found int
	if err := s.db.QueryRowContext(ctx, s.dialect.bind(q), names...).Scan(&found); err != nil {
		return err
	}
	if found < len(tables) {
		return fmt.Errorf("%d of the %d tables keystrand_spill_* are visible: create them with the statements of Schema, in the database and schema that the connection uses: %w",
			found, len(tables), spill.ErrUnusable)
	}
	var versions, version sql.NullInt64
	err := s.db.QueryRowContext(ctx, "SELECT COUNT(*), MIN(version) FROM keystrand_spill_layout").Scan(&versions, &version)
	if err != nil {
		return err
	}
	switch {
	case versions.Int64 != 1:
		return fmt.Errorf("the table keystrand_spill_layout has %d rows instead of one: restore the tables from a backup, or drop them and create them with the statements of Schema, which gives up their messages: %w",
			versions.Int64, spill.ErrUnusable)
	case version.Int64 != layout:
		return fmt.Errorf("the tables keystrand_spill_* have the layout %d, and this version of keystrand uses %d: run the version that created them, or drop them when no key is diverted and create them with the statements of Schema: %w",
			version.Int64, layout, spill.ErrUnusable)
	}
	return nil
}
