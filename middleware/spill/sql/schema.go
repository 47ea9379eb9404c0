package sql

import (
	"database/sql"

	"github.com/keystrand/keystrand/internal/sqlstore"
	"github.com/keystrand/keystrand/middleware/spill"
)

// tablesIn returns the tables of Schema in a database. The form of messages has a version of its own.
func tablesIn(db *sql.DB, d Dialect) sqlstore.Database {
	return sqlstore.Database{
		DB: db, Dialect: sqlstore.Dialect(d), Prefix: "keystrand_spill_", Tables: []string{"layout", "partitions", "strands", "records"},
		Layout: 1, Content: "messages", Unusable: spill.ErrUnusable,
	}
}

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
