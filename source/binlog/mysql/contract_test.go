package mysql_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keystrand/keystrand"
	"github.com/keystrand/keystrand/commit"
	"github.com/keystrand/keystrand/source"
	"github.com/keystrand/keystrand/source/binlog"
	"github.com/keystrand/keystrand/source/binlog/internal/memstore"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
	"github.com/keystrand/keystrand/source/sourcetest"
)

func newMemStore() *memstore.Store { return memstore.New() }

var suiteTables = []string{"t0", "t1", "t2"}

// process is what a source needs of its surroundings. It can die.
type process struct {
	commit.Store
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu    sync.Mutex
	dead  bool
	conns []net.Conn
}

var errDead = errors.New("the process is dead")

func (p *process) die() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	for _, c := range p.conns {
		_ = c.Close()
	}
}

func (p *process) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := p.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		_ = conn.Close()
		return nil, errDead
	}
	p.conns = append(p.conns, conn)
	return conn, nil
}

func (p *process) alive() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead {
		return errDead
	}
	return nil
}

func (p *process) Claim(ctx context.Context, stream string, partition int32, epoch int64) (*commit.Progress, error) {
	if err := p.alive(); err != nil {
		return nil, err
	}
	return p.Store.Claim(ctx, stream, partition, epoch)
}

func (p *process) Save(ctx context.Context, stream string, partition int32, progress *commit.Progress) error {
	if err := p.alive(); err != nil {
		return err
	}
	return p.Store.Save(ctx, stream, partition, progress)
}

// suite returns what the suite needs of three tables of a database. insert logs rows of table i.
func suite(t *testing.T, addr, database string, cfg mysql.Config, dial func(ctx context.Context, network, address string) (net.Conn, error),
	insert func(i int32, rows [][3][]byte) error,
) sourcetest.Env {
	t.Helper()
	store := newMemStore()
	cfg.Dial = dial
	cfg.Start = startNow(t, addr, cfg)
	processes := make(map[source.Source]*process)
	return sourcetest.Env{
		Partitions: len(suiteTables),
		ID:         func(i int) (string, int32) { return database + "." + suiteTables[i], 0 },
		Join: func() (source.Source, error) {
			p := &process{Store: store, dial: dial}
			c := cfg
			c.Dial = p.Dial
			s, err := mysql.New(addr, []string{database + ".*"}, p, c)
			processes[s] = p
			return s, err
		},
		Produce: func(i int32, msgs ...keystrand.Message) error {
			var rows [][3][]byte
			for _, m := range msgs {
				headers, err := json.Marshal(m.Headers)
				if err != nil {
					return fmt.Errorf("encode headers: %w", err)
				}
				rows = append(rows, [3][]byte{m.Key, m.Value, headers})
			}
			return insert(i, rows)
		},
		Plain: func(m keystrand.Message) keystrand.Message {
			row, err := binlog.RowOf(&m)
			if err != nil {
				panic(err)
			}
			blob := func(i int) []byte { b, _ := row.After[i].([]byte); return b }
			m.Key, m.Value, m.Headers = blob(1), blob(2), nil
			if err := json.Unmarshal(blob(3), &m.Headers); err != nil {
				panic(err)
			}
			return m
		},
		Crash: func(s source.Source) error {
			processes[s].die()
			return nil
		},
		Alone: true,
	}
}

// startNow returns where the log ends now: the suite logs rows before a member joins.
func startNow(t *testing.T, addr string, cfg mysql.Config) mysql.Start {
	t.Helper()
	log, err := mysql.NewLog(addr, binlog.Filter{}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // it was only asked
	at, err := log.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if form, set, _ := strings.Cut(string(at), ":"); form != "file" {
		return mysql.GTIDs(set)
	}
	words := strings.Fields(string(at))
	pos, err := strconv.ParseUint(words[len(words)-1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return mysql.File(words[len(words)-2], pos)
}

// noWay lists the cases that need what a binary log does not have.
func noWay() map[string]string {
	const (
		alone  = "tables do not move: a second process takes all of them, and the first one is refused"
		kept   = "nobody takes a table away"
		one    = "the log of a server is not made again; other tests replace the server"
		steady = "the position of a table without rows follows the log every 10 s, or 64 MiB"
	)
	return map[string]string{
		"EverythingComesOverHandOvers": alone, "NoAcceptBeforeRelease": alone, "OldEpochIsFenced": alone,
		"RevokedBeforeLost": kept, "LostCancelsAtOnce": kept, "LeavingFetchReturnsErrLeaving": kept, "NoAcceptBeforeReleaseBySameMember": kept,
		"LogRecreatedUnderItsOwner": one, "RecreatedLogIsNotSkipped": one,
		"OffsetsAscendAndMaySkip": steady, "PositionMovesWithoutMessages": steady,
		"FiniteEndsWithEOF": "a binary log has no end",
	}
}

// try runs a case. A case in noWay must lack something.
func try(t *testing.T, c sourcetest.Case, env sourcetest.Env) {
	t.Helper()
	why, listed := noWay()[c.Name]
	if !listed {
		c.Test(t, env)
		return
	}
	err := c.Run(t.Context(), env)
	if _, missing := errors.AsType[*sourcetest.MissingError](err); !missing {
		t.Fatalf("the case is listed in noWay, and ran: %v", err)
	}
	t.Logf("%v: %s", err, why)
}

func TestSourceKeepsTheContractOnARecordedLog(t *testing.T) {
	for name, cfg := range map[string]mysql.Config{
		"GTID":    {},
		"file":    {FilePosition: true},
		"no room": {TableBytes: 1, QueueBytes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range sourcetest.Cases() {
				t.Run(c.Name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						s := recorded.Pipe(t, recorded.Load(t, recorded.Bank))
						s.OnQuery = func(query string, _ []any) (*recorded.Table, error) { return answer(t, s.Recording(), query) }
						m := newMaker(t, s, "suite", suiteTables...)
						cfg.User, cfg.Password = recorded.User, recorded.Password
						env := suite(t, "recorded:3306", "suite", cfg, s.DialContext, func(i int32, rows [][3][]byte) error {
							for len(rows) > 0 {
								n := min(3, len(rows))
								m.transaction(m.insert("suite", suiteTables[i], rows[:n]...)...)
								rows = rows[n:]
							}
							return nil
						})
						env.Patience, env.Wait = 3*time.Second, 10*time.Minute
						try(t, c, env)
					})
				})
			}
		})
	}
}

func TestLiveSourceKeepsTheContract(t *testing.T) {
	liveServer(t) // skips
	for _, c := range sourcetest.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			l := liveServer(t)
			for _, table := range suiteTables {
				l.exec("CREATE TABLE " + table + " (n bigint unsigned AUTO_INCREMENT PRIMARY KEY, k longblob, v longblob, h longblob)")
			}
			env := suite(t, l.addr, l.database, mysql.Config{User: l.user, Password: l.password}, (&net.Dialer{}).DialContext,
				func(i int32, rows [][3][]byte) error {
					for len(rows) > 0 {
						n := min(100, len(rows))
						var args []any
						for _, r := range rows[:n] {
							args = append(args, r[0], r[1], r[2])
						}
						_, err := l.db.ExecContext(context.Background(), "INSERT INTO "+suiteTables[i]+" (k, v, h) VALUES (?, ?, ?)"+
							strings.Repeat(", (?, ?, ?)", n-1), args...)
						if err != nil {
							return fmt.Errorf("insert: %w", err)
						}
						rows = rows[n:]
					}
					return nil
				})
			env.Patience = 300 * time.Millisecond
			try(t, c, env)
		})
	}
}
