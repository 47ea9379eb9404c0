// Package recorded serves binary logs that were recorded from MariaDB, for tests without a server.
//
// testdata/NAME.sql made the recording NAME: record.sh runs it on an empty MariaDB and keeps the log, some global variables, what
// information_schema says about its tables, and their rows, all as they were at the end. [Serve] hands the log out like that server
// would, by file and position or after GTIDs. It also answers the statements of a client before that:
//
//   - SELECT of variables, SHOW VARIABLES, SHOW MASTER STATUS, SHOW BINARY LOGS, SHOW GRANTS, SET, KILL;
//   - SELECT of columns of information_schema.columns or statistics, with conditions = and IN joined by AND, and ORDER BY.
//
// Methods of [Recording] make logs that are hard to get from a server: corrupt, truncated, purged, above 4 GiB. Those of [Server] cut
// connections, hold events back, and put another log in the place of this one. [Recording.MySQL] makes a log in the form of MySQL.
//
// A test that starts a server with [Pipe] may run in a synctest bubble.
package recorded
