// Package binlog describes the row changes of a database: rows, statements, the keys that order them, and their JSON form. Two
// changes are in order if they touch the same row or the same value of a unique key, before or after. A statement that changes
// a table runs alone in it.
//
// Package mysql below it reads the binary log of a MariaDB or MySQL server, package drc a DRC-style service. Both make
// every table a partition.
//
// It does not order rows across tables, and it does not keep the rows of a transaction together.
package binlog
