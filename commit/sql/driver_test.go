package sql_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	commitsql "github.com/keystrand/keystrand/commit/sql"
)

// hook is called before a statement is sent. It returns the statement to send, or its error.
type hook func(ctx context.Context, statement string) (string, error)

// hooked makes connections whose statements call a hook.
type hooked struct {
	driver.Connector
	hook hook
}

func (h hooked) Connect(ctx context.Context) (driver.Conn, error) {
	c, err := h.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return hookedConn{c, h.hook}, nil
}

type hookedConn struct {
	driver.Conn
	hook hook
}

func (c hookedConn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	q, err := c.hook(ctx, q)
	if err != nil {
		return nil, err
	}
	if e, ok := c.Conn.(driver.ExecerContext); ok {
		return e.ExecContext(ctx, q, args)
	}
	return nil, driver.ErrSkip
}

func (c hookedConn) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	q, err := c.hook(ctx, q)
	if err != nil {
		return nil, err
	}
	if e, ok := c.Conn.(driver.QueryerContext); ok {
		return e.QueryContext(ctx, q, args)
	}
	return nil, driver.ErrSkip
}

func (c hookedConn) PrepareContext(ctx context.Context, q string) (driver.Stmt, error) {
	if p, ok := c.Conn.(driver.ConnPrepareContext); ok {
		return p.PrepareContext(ctx, q)
	}
	return c.Prepare(q)
}

func (c hookedConn) ResetSession(ctx context.Context) error {
	if r, ok := c.Conn.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c hookedConn) IsValid() bool {
	v, ok := c.Conn.(driver.Validator)
	return !ok || v.IsValid()
}

func (c hookedConn) CheckNamedValue(v *driver.NamedValue) error {
	if k, ok := c.Conn.(driver.NamedValueChecker); ok {
		return k.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// open opens a pool whose statements call a hook. The hook may be nil. A pool of MySQL is one of MariaDB that says that it is MySQL.
func (db database) open(h hook) (*sql.DB, error) {
	pool, err := sql.Open(db.driver, db.url)
	if err != nil || h == nil && db.dialect != commitsql.MySQL {
		return pool, err
	}
	as := func(ctx context.Context, statement string) (string, error) {
		if db.dialect == commitsql.MySQL && statement == "SELECT version()" {
			statement = "SELECT '8.4.6'"
		}
		if h == nil {
			return statement, nil
		}
		return h(ctx, statement)
	}
	d, ok := pool.Driver().(driver.DriverContext)
	if !ok {
		return nil, errors.Join(fmt.Errorf("the driver %s has no connectors", db.driver), pool.Close())
	}
	c, err := d.OpenConnector(db.url)
	return sql.OpenDB(hooked{c, as}), errors.Join(err, pool.Close())
}
