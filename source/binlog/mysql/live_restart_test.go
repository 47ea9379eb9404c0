package mysql_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/pipeline"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// rowsEach is how many rows each transaction has in each of the two tables.
const rowsEach = 5

// copier follows the tables a and b of a database, in processes one after the other. The rows of each table have the numbers 1,
// 2, 3, and so on.
type copier struct {
	*testing.T
	*process
	cfg      mysql.Config
	addr     string
	database string

	mu      sync.Mutex
	seen    map[string]int64 // the last new number of each table
	repeats int
	wrong   []string
	each    func() // called after each row; may stop the process
	target  int64
	done    context.CancelFunc
}

func newCopier(l *live, dial func(ctx context.Context, network, address string) (net.Conn, error)) *copier {
	l.exec("CREATE TABLE a (n bigint PRIMARY KEY, v varchar(20)); CREATE TABLE b (n bigint PRIMARY KEY, v varchar(20))")
	cfg := mysql.Config{User: l.user, Password: l.password, Heartbeat: 500 * time.Millisecond}
	cfg.Dial = dial
	cfg.Start = startNow(l.T, l.addr, cfg)
	return &copier{
		T: l.T, process: &process{Store: newMemStore(), dial: dial}, cfg: cfg, addr: l.addr, database: l.database,
		seen: make(map[string]int64),
	}
}

// handle notes a row.
func (c *copier) handle(_ context.Context, m *keystrand.Message) error {
	row, err := binlog.RowOf(m)
	if err != nil || row == nil {
		return err
	}
	n, _ := row.After[0].(int64)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch last := c.seen[m.Stream]; {
	case n <= last:
		c.repeats++
	case n == last+1:
		c.seen[m.Stream] = n
	default:
		c.wrong = append(c.wrong, fmt.Sprintf("%s: row %d comes after row %d", m.Stream, n, last))
	}
	if c.each != nil {
		c.each()
	}
	if len(c.seen) == 2 && c.seen[c.database+".a"] >= c.target && c.seen[c.database+".b"] >= c.target || len(c.wrong) > 0 {
		c.done()
	}
	return nil
}

// run follows the tables in one process until ctx ends or all rows up to a number have been handled.
func (c *copier) run(ctx context.Context, target int64) {
	c.Helper()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	c.mu.Lock()
	c.target, c.done = target, cancel
	c.mu.Unlock()
	cfg := c.cfg
	cfg.Dial = c.Dial
	src, err := mysql.New(c.addr, []string{c.database + ".a", c.database + ".b"}, c.process, cfg)
	if err != nil {
		c.Fatal(err)
	}
	p, err := pipeline.From(src).Key(keystrand.ByPartition).Handle(keystrand.HandlerFunc(c.handle)).Build()
	if err != nil {
		c.Fatal(err)
	}
	if err := p.Run(ctx); err != nil && !errors.Is(err, context.Canceled) && c.alive() == nil {
		c.Fatalf("run: %v", err)
	}
}

// check fails the test if rows were lost or out of order, or if more were repeated than allowed.
func (c *copier) check(want int64, repeats int) {
	c.Helper()
	for _, table := range []string{".a", ".b"} {
		if got := c.seen[c.database+table]; got != want {
			c.Errorf("table %s: rows up to %d, want %d", table, got, want)
		}
	}
	if len(c.wrong) > 0 {
		c.Errorf("%q", c.wrong)
	}
	if c.repeats > repeats {
		c.Errorf("%d rows were repeated, at most %d may", c.repeats, repeats)
	}
}

// cut closes all connections.
func (c *copier) cut() {
	c.process.mu.Lock()
	defer c.process.mu.Unlock()
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

// write commits transactions of both tables, from row number from on, and returns the last number.
func write(ctx context.Context, db *sql.DB, database string, from int64, transactions int) (int64, error) {
	for range transactions {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return from, fmt.Errorf("begin: %w", err)
		}
		for i, table := range []string{"a", "b", "a", "b"} { // two statements each: of 2 rows, then of 3
			first, n := from+1, 2
			if i > 1 {
				first, n = from+3, rowsEach-2
			}
			var values []string
			for k := range n {
				values = append(values, fmt.Sprintf("(%d, 'value')", first+int64(k)))
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO "+database+"."+table+" VALUES "+strings.Join(values, ", ")); err != nil {
				return from, fmt.Errorf("insert: %w", errors.Join(err, tx.Rollback()))
			}
		}
		if err := tx.Commit(); err != nil {
			return from, fmt.Errorf("commit: %w", err)
		}
		from += rowsEach
	}
	return from, nil
}

func TestLiveRestartGoesOnAtTheExactRow(t *testing.T) {
	t.Run("one domain", func(t *testing.T) { restartsOften(t, 1) })
	t.Run("three domains", func(t *testing.T) { restartsOften(t, 3) })
}

// restartsOften stops the process at random rows, of transactions that take turns in so many domains.
func restartsOften(t *testing.T, domains int) {
	t.Helper()
	l := liveServer(t)
	c := newCopier(l, (&net.Dialer{}).DialContext)
	last := int64(0)
	for i := range 100 {
		l.exec(fmt.Sprintf("SET SESSION gtid_domain_id = %d", i%domains))
		var err error
		if last, err = write(t.Context(), l.db, l.database, last, 2); err != nil {
			t.Fatal(err)
		}
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 12 { // stop at any row, often in the middle of a transaction
		left := 1 + random.IntN(120) // of 2,000 rows
		c.each = func() {
			if left--; left == 0 {
				c.done()
			}
		}
		c.run(t.Context(), last)
	}
	c.each = nil
	c.run(t.Context(), last)
	c.check(last, 0)
}

func TestLiveCutConnectionsAreHealedWithoutARowTwice(t *testing.T) {
	l := liveServer(t)
	c := newCopier(l, (&net.Dialer{}).DialContext)
	last, err := write(t.Context(), l.db, l.database, 0, 300)
	if err != nil {
		t.Fatal(err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	left, cuts := 50, 0
	c.each = func() {
		if left--; left == 0 && cuts < 12 {
			left = 1 + random.IntN(200)
			cuts++
			go c.cut()
		}
	}
	c.run(t.Context(), last)
	c.check(last, 0)
}

// ctl runs the program that starts and stops the nodes of the server.
func ctl(t *testing.T, args ...string) {
	t.Helper()
	program := os.Getenv("KEYSTRAND_MARIADB_CTL")
	if program == "" {
		t.Skip("KEYSTRAND_MARIADB_CTL is not set")
	}
	out, err := exec.CommandContext(context.WithoutCancel(t.Context()), program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
}

func TestLiveServerRestartIsHealed(t *testing.T) {
	l := liveServer(t)
	c := newCopier(l, (&net.Dialer{}).DialContext)
	last, err := write(t.Context(), l.db, l.database, 0, 50)
	if err != nil {
		t.Fatal(err)
	}
	const more = 50
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		c.run(t.Context(), last+2*more*rowsEach)
	}()
	for _, how := range []string{"stop", "kill"} {
		_ = l.db.Close()
		ctl(t, how, "mariadb", "1")
		ctl(t, "start", "mariadb", "1")
		l.connect()
		if last, err = write(t.Context(), l.db, l.database, last, more); err != nil {
			t.Fatal(err)
		}
	}
	<-ran
	c.check(last, 0)
}

// The replica has the same transactions, with the same GTIDs, and other numbers. It takes over while a handler is in the middle of
// a transaction. Nothing is settled above the frontier, so no row comes again.
func TestLiveSourceGoesOnAtTheReplicaThatReplacesThePrimary(t *testing.T) {
	l := liveServer(t)
	replica, err := driver.ParseDSN(os.Getenv("KEYSTRAND_MARIADB_REPLICA"))
	if err != nil || replica.Addr == "" {
		t.Skip("KEYSTRAND_MARIADB_REPLICA is not set")
	}
	nodes := []string{l.addr, replica.Addr}
	var primary atomic.Int32
	c := newCopier(l, func(ctx context.Context, network, _ string) (net.Conn, error) { // as a name that moves
		return (&net.Dialer{}).DialContext(ctx, network, nodes[primary.Load()])
	})
	const each = 60
	last, err := write(t.Context(), l.db, l.database, 0, each)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ctl(t, "promote", "mariadb", "1") })
	const middle = each*rowsEach + 3 // rows of both tables: at least one of them has handled a part of a transaction
	handled, reached, open := 0, make(chan struct{}), make(chan struct{})
	c.each = func() {
		if handled++; handled == middle || handled == middle+2*each*rowsEach {
			reached <- struct{}{}
			<-open
		}
	}
	ran := make(chan struct{})
	go func() {
		defer close(ran)
		c.run(t.Context(), 3*each*rowsEach)
	}()
	for _, node := range []int32{1, 0} { // once, and back again
		select {
		case <-reached:
		case <-ran:
			t.Fatalf("the source has ended; rows up to %v of %d: %q", c.seen, last, c.wrong)
		}
		ctl(t, "promote", "mariadb", fmt.Sprint(node+1))
		primary.Store(node)
		c.cut()
		l.addr = nodes[node]
		_ = l.db.Close()
		l.connect()
		time.Sleep(time.Second) // real time: the source notices the new server, and asks for its tables back
		open <- struct{}{}
		if last, err = write(t.Context(), l.db, l.database, last, each); err != nil {
			t.Fatal(err)
		}
	}
	<-ran
	c.check(last, 0)
}
