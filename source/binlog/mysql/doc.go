// Package mysql reads the binary log of a MariaDB or MySQL server: every table is a partition, and every change of a row is a
// message in the order of the log.
//
//	src, err := mysql.New("db.example:3306", []string{"shop.*"}, store, mysql.Config{User: "keystrand", Password: secret})
//
// A message has a [binlog.Row] or a [binlog.DDL]: see [binlog.RowOf] and [binlog.DDLOf]. Progress is kept in a commit.Store, for
// each table apart. A restart goes on at the exact row.
//
// # What the server must have set
//
//   - log_bin, binlog_format=ROW, binlog_row_image=FULL and binlog_row_metadata=FULL: MariaDB 10.5 or MySQL 8.0.1.
//   - gtid_mode=ON on MySQL, unless [Config.FilePosition] is set.
//   - log_slave_updates=ON on a replica, and on the primary that may become one. MariaDB then needs gtid_strict_mode too.
//   - A user with REPLICATION SLAVE, BINLOG MONITOR (MySQL: REPLICATION CLIENT), and SELECT on the wanted tables, without which
//     information_schema does not show their keys.
//
// The source checks all but the last when it starts, and tells everything that is missing at once.
//
// # What stops
//
// A table stops alone when the log has no rows for a change of it, or only parts of them (a session has set binlog_format or
// binlog_row_image), or when a value cannot be read. Its Fetch blocks, and the other tables go on. The log has one ERROR line, and
// source.Report.Trouble has "stopped" and the stream, with server, file, position, table and what to do.
//
// All tables stop, with a final error, at a row of a prepared XA transaction, because its outcome is not known yet; at a lost part
// of the log; at a statement that cannot be read; when another connection uses the same server id; and when the log is purged
// ([ErrGone]). What is settled by then is committed.
//
// # What is not promised
//
//   - No MySQL server has been tried, only what it would send.
//   - The unique keys of a table are read from the server, not from the log. A key that was dropped before the source first read
//     the table orders no rows. The primary key is in the log.
//   - A statement in the place of rows stops the tables and views that it names, not those that its triggers or views change.
//   - The rows that a foreign key changes (ON DELETE CASCADE and the like) are not in the log.
//   - A log that was begun again (RESET MASTER, or an old backup) is not noticed once its GTIDs have passed the stored ones.
//   - Rows of a transaction come in the order of the log, each table on its own: the tables of one transaction are not handled
//     together.
package mysql
