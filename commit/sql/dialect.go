package sql

import "github.com/keystrand/keystrand/internal/sqlstore"

// Dialect is the kind of the database.
type Dialect uint8

// Databases.
const (
	PostgreSQL = Dialect(sqlstore.PostgreSQL)
	MariaDB    = Dialect(sqlstore.MariaDB)
	MySQL      = Dialect(sqlstore.MySQL)
	SQLite     = Dialect(sqlstore.SQLite)
)

// String returns the name of the database.
func (d Dialect) String() string { return sqlstore.Dialect(d).String() }
