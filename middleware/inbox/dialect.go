package inbox

// Dialect is the kind of the database.
type Dialect uint8

// Databases.
const (
	PostgreSQL Dialect = iota + 1
	MariaDB
)

// Schema returns the statements that create the table, for a migration of your own: the package creates nothing. Statements end
// with a semicolon and a line. They fail where the table exists. An unknown dialect has none.
//
// The columns seen_at (seconds since 1970, by the clock of the database) and repeats (how often the message came again) are for
// people to look at. Consumers with different names share the table.
func Schema(d Dialect) string {
	switch d {
	case PostgreSQL:
		return schemaPostgreSQL
	case MariaDB:
		return schemaMariaDB
	}
	return ""
}

const schemaPostgreSQL = `CREATE TABLE keystrand_inbox (
	consumer bytea NOT NULL,
	place bytea NOT NULL,
	message_offset bigint NOT NULL,
	message_time bigint NOT NULL,
	seen_at bigint NOT NULL,
	repeats bigint NOT NULL,
	PRIMARY KEY (consumer, place, message_offset, message_time)
);
CREATE INDEX keystrand_inbox_seen_at ON keystrand_inbox (consumer, seen_at);
`

const schemaMariaDB = `CREATE TABLE keystrand_inbox (
	consumer VARBINARY(255) NOT NULL,
	place BINARY(32) NOT NULL,
	message_offset BIGINT NOT NULL,
	message_time BIGINT NOT NULL,
	seen_at BIGINT NOT NULL,
	repeats BIGINT NOT NULL,
	PRIMARY KEY (consumer, place, message_offset, message_time),
	INDEX keystrand_inbox_seen_at (consumer, seen_at)
) ENGINE=InnoDB;
`

// statements are the statements of a dialect.
type statements struct {
	record string // consumer, place, offset, time: returns 0 if the row is new
	old    string // consumer, age in seconds, limit: returns place, offset, time
	remove string // consumer, place, offset, time
}

// The number of repeats tells whether a row is new, since it is part of the row. The number of rows affected would depend on
// settings of the driver, and INSERT IGNORE also ignores rows that the database could not store.
//
// Old rows are read without locks and removed by their primary key. A DELETE of MariaDB with a condition on the time locks the
// rows that it looks at, and waits for every transaction that has recorded a message.
func statementsOf(d Dialect) (s statements, known bool) {
	switch d {
	case PostgreSQL:
		return statements{
			record: `INSERT INTO keystrand_inbox AS i (consumer, place, message_offset, message_time, seen_at, repeats)
				VALUES ($1, $2, $3, $4, extract(epoch FROM clock_timestamp())::bigint, 0)
				ON CONFLICT (consumer, place, message_offset, message_time) DO UPDATE SET repeats = i.repeats + 1
				RETURNING repeats`,
			old: `SELECT place, message_offset, message_time FROM keystrand_inbox
				WHERE consumer = $1 AND seen_at < extract(epoch FROM clock_timestamp())::bigint - $2 ORDER BY seen_at LIMIT $3`,
			remove: `DELETE FROM keystrand_inbox WHERE consumer = $1 AND place = $2 AND message_offset = $3 AND message_time = $4`,
		}, true
	case MariaDB:
		return statements{
			record: `INSERT INTO keystrand_inbox (consumer, place, message_offset, message_time, seen_at, repeats)
				VALUES (?, ?, ?, ?, UNIX_TIMESTAMP(), 0)
				ON DUPLICATE KEY UPDATE repeats = repeats + 1
				RETURNING repeats`,
			old: `SELECT place, message_offset, message_time FROM keystrand_inbox
				WHERE consumer = ? AND seen_at < UNIX_TIMESTAMP() - ? ORDER BY seen_at LIMIT ?`,
			remove: `DELETE FROM keystrand_inbox WHERE consumer = ? AND place = ? AND message_offset = ? AND message_time = ?`,
		}, true
	}
	return statements{}, false
}
