// Package binlog has what all sources of row changes share: rows, the keys that order them, their form in JSON, and tables as
// partitions. Package mysql below it reads the binary log of a MariaDB or MySQL server, package drc a DRC-style service.
package binlog
