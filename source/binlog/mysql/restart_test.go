package mysql_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-mysql-org/go-mysql/replication"

	"github.com/keystrand/keystrand/source/binlog/internal/demux"
	"github.com/keystrand/keystrand/source/binlog/internal/recorded"
	"github.com/keystrand/keystrand/source/binlog/mysql"
)

// shown returns what counts in events: rows, statements and ends.
func shown(all []demux.Event) []string {
	var lines []string
	for _, e := range all {
		switch e.Kind {
		case demux.Rows:
			for _, row := range e.Rows {
				lines = append(lines, fmt.Sprintf("%s %s %v %v %s %d %s", row.Table, row.Kind, row.Before, row.After, row.Transaction, row.Index, e.Place))
			}
		case demux.Statement:
			lines = append(lines, e.DDL.Query)
		case demux.End:
			lines = append(lines, string(e.Place))
		case demux.Defined, demux.Fault, demux.Idle:
		}
	}
	return lines
}

func TestEveryTransactionEndIsAPlaceToRestart(t *testing.T) {
	for name, open := range map[string]func(*testing.T) (*recorded.Recording, mysql.Config){
		"MariaDB by GTID": func(t *testing.T) (*recorded.Recording, mysql.Config) {
			t.Helper()
			return recorded.Load(t, recorded.Bank), mysql.Config{}
		},
		"MariaDB by file": func(t *testing.T) (*recorded.Recording, mysql.Config) {
			t.Helper()
			return recorded.Load(t, recorded.Bank), mysql.Config{FilePosition: true}
		},
		"compressed events": func(t *testing.T) (*recorded.Recording, mysql.Config) {
			t.Helper()
			return recorded.Load(t, recorded.Compressed), mysql.Config{}
		},
		"MySQL by GTID": func(t *testing.T) (*recorded.Recording, mysql.Config) {
			t.Helper()
			return recorded.Load(t, recorded.Bank).MySQL(t, recorded.GTIDs), mysql.Config{}
		},
		"MySQL by tagged GTID": func(t *testing.T) (*recorded.Recording, mysql.Config) {
			t.Helper()
			return recorded.Load(t, recorded.Bank).MySQL(t, recorded.Tagged), mysql.Config{}
		},
		"MySQL's compressed transactions": func(t *testing.T) (*recorded.Recording, mysql.Config) {
			t.Helper()
			return recorded.Load(t, recorded.Bank).MySQL(t, recorded.Payloads), mysql.Config{}
		},
		"MySQL by file": func(t *testing.T) (*recorded.Recording, mysql.Config) {
			t.Helper()
			return recorded.Load(t, recorded.Bank).MySQL(t, recorded.GTIDs), mysql.Config{FilePosition: true}
		},
		"MySQL's compressed transactions by file": func(t *testing.T) (*recorded.Recording, mysql.Config) {
			t.Helper()
			return recorded.Load(t, recorded.Bank).MySQL(t, recorded.Payloads), mysql.Config{FilePosition: true}
		},
		"MySQL's statements": func(t *testing.T) (*recorded.Recording, mysql.Config) {
			t.Helper()
			return recorded.Load(t, recorded.DDL).MySQL(t, recorded.Payloads), mysql.Config{}
		},
		"statements": func(t *testing.T) (*recorded.Recording, mysql.Config) {
			t.Helper()
			return recorded.Load(t, recorded.DDL), mysql.Config{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, cfg := open(t)
				log, _ := from(t, r, cfg)
				all := mustRead(t, log)
				ends := 0
				for i, e := range all {
					if e.Kind != demux.End {
						continue
					}
					if ends++; ends%23 != 1 {
						continue
					}
					rest, err := readAll(t, log, e.Place, nil)
					if err != nil {
						t.Fatal(err)
					}
					got, want := shown(rest), shown(all[i+1:])
					if strings.Join(got, "\n") != strings.Join(want, "\n") {
						t.Fatalf("behind %s: %d events, want %d", e.Place, len(got), len(want))
					}
				}
				if ends < 5 {
					t.Errorf("only %d transactions", ends)
				}
			})
		})
	}
}

// withoutNames returns rows and statements alone, without their transactions.
func withoutNames(all []demux.Event) string {
	var b strings.Builder
	for _, e := range all {
		for _, row := range e.Rows {
			fmt.Fprintln(&b, row.Table, row.Kind, row.Before, row.After, row.Index, row.Table.Keys)
		}
		if e.DDL != nil {
			fmt.Fprintln(&b, e.DDL.Query, e.DDL.Tables)
		}
	}
	return b.String()
}

func TestLogsOfMySQLAndOfReplicasHaveTheSameRows(t *testing.T) {
	for _, name := range []string{recorded.Bank, recorded.DDL, recorded.Types} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := recorded.Load(t, name)
				wanted := name + ".[^r]*"
				if name == recorded.DDL {
					wanted = "shop.*"
				}
				log, _ := from(t, r, mysql.Config{}, wanted)
				want := withoutNames(mustRead(t, log))
				for other, r := range map[string]*recorded.Recording{
					"replica":  r.Replica("other.000007", 9),
					"GTIDs":    r.MySQL(t, recorded.GTIDs),
					"tagged":   r.MySQL(t, recorded.Tagged),
					"payloads": r.MySQL(t, recorded.Payloads),
				} {
					log, _ := from(t, r, mysql.Config{}, wanted)
					if got := withoutNames(mustRead(t, log)); got != want {
						t.Errorf("%s: the rows differ: %d bytes, want %d", other, len(got), len(want))
					}
				}
			})
		})
	}
}

// A cut in the middle of a transaction is temporary, and the transaction comes again whole from the last end.
func TestCutConnectionIsTemporaryAtAnyEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := recorded.Load(t, recorded.Bank)
		log, server := from(t, r, mysql.Config{})
		want := shown(mustRead(t, log))
		n := len(r.Events())
		for cut := 3; cut < n; cut += 61 {
			server.CutBefore(cut)
			var got []string
			var last demux.Place
			for {
				all, err := readAll(t, log, last, nil)
				for i := len(all) - 1; i >= 0 && err != nil; i-- { // what was read behind the last end comes again
					if all[i].Kind == demux.End {
						break
					}
					all = all[:i]
				}
				if len(all) > 0 {
					got, last = append(got, shown(all)...), all[len(all)-1].Place
				}
				if err == nil {
					break
				}
				if !log.Temporary(err) {
					t.Fatalf("cut before event %d: not temporary: %v", cut, err)
				}
			}
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Fatalf("cut before event %d: %d events, want %d", cut, len(got), len(want))
			}
		}
	})
}

func TestSilentServerIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, server := from(t, recorded.Load(t, recorded.Bank), mysql.Config{Heartbeat: time.Second})
		at, err := log.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r, err := log.Open(t.Context(), at, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close() //nolint:errcheck // it was only read
		if _, err := drain(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		server.Silence(true)
		start := time.Now()
		_, err = drain(t.Context(), r)
		for err == nil { // heartbeats on their way
			_, err = drain(t.Context(), r)
		}
		if took := time.Since(start); !log.Temporary(err) || took < 2*time.Second || took > 4*time.Second {
			t.Errorf("after %v: %v, want a temporary error after 3 s", took, err)
		}
	})
}

func TestDamagedEventIsAnErrorWithFileAndPosition(t *testing.T) {
	bank := recorded.Load(t, recorded.Bank)
	n := bank.Find(60, func(e recorded.Event) bool { return e.Type() == replication.WRITE_ROWS_EVENTv1 })
	before := bank.Events()[n].Start
	for name, r := range map[string]*recorded.Recording{"checksum": bank.Corrupt(n), "cut": bank.Truncate(n)} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log, _ := from(t, r, mysql.Config{})
				all, err := readAll(t, log, "", nil)
				if err == nil || log.Temporary(err) {
					t.Fatalf("error %v, want a final one", err)
				}
				if text := err.Error(); !strings.Contains(text, "binlog.000001") || !strings.Contains(text, fmt.Sprint(before)) || len(text) > 700 {
					t.Errorf("error %q, want file binlog.000001 and position %d", text, before)
				}
				if len(shown(all)) == 0 {
					t.Error("nothing was read before it")
				}
			})
		})
	}
}

func TestPurgedLogIsAnErrorWithWhatIsWantedAndWhatThereIs(t *testing.T) {
	for name, cfg := range map[string]mysql.Config{"GTID": {}, "file": {FilePosition: true}, "MySQL": {}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := recorded.Load(t, recorded.Bank)
				if name == "MySQL" {
					r = r.MySQL(t, recorded.GTIDs)
				}
				log, server := from(t, r, cfg)
				wanted, err := log.Start(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				server.Replace(r.Purge(r.Files[1].Name))
				oldest, err := log.Start(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				_, err = readAll(t, log, wanted, nil)
				if !errors.Is(err, mysql.ErrGone) || log.Temporary(err) {
					t.Fatalf("error %v, want ErrGone", err)
				}
				if text := err.Error(); !strings.Contains(text, human(wanted)) || !strings.Contains(text, human(oldest)) || wanted == oldest {
					t.Errorf("error %q, want %q and %q in it", text, wanted, oldest)
				}
			})
		})
	}
}

// human returns a place in the words of messages.
func human(p demux.Place) string {
	form, rest, _ := strings.Cut(string(p), ":")
	switch words := strings.Fields(rest); {
	case form == "file":
		return words[1] + " position " + words[2]
	case rest == "":
		return "its first transaction"
	}
	return "GTID " + rest
}

func TestGTIDThatTheServerNeverHadIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _ := from(t, recorded.Load(t, recorded.Bank), mysql.Config{Start: mysql.GTIDs("0-1-99999")})
		_, err := readAll(t, log, "", nil)
		if !errors.Is(err, mysql.ErrGone) || !strings.Contains(err.Error(), "0-1-99999") {
			t.Errorf("error %v, want ErrGone with 0-1-99999", err)
		}
	})
}

func TestAnotherReaderWithTheServerIDIsAnErrorWithBothFacts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, server := from(t, recorded.Load(t, recorded.Bank), mysql.Config{ServerID: 77})
		at, err := log.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		first, err := log.Open(t.Context(), at, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close() //nolint:errcheck // it was only read
		if _, err := drain(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		other, err := mysql.NewLog("recorded:3306", log.Selected(), mysql.Config{
			ServerID: 77, User: recorded.User, Password: recorded.Password, Dial: server.DialContext,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close() //nolint:errcheck // it was only read
		if _, err := readAll(t, other, at, nil); err != nil {
			t.Fatal(err)
		}
		_, err = drain(t.Context(), first)
		if !errors.Is(err, mysql.ErrServerID) || !strings.Contains(err.Error(), "77") || log.Temporary(err) {
			t.Errorf("error %v, want a final ErrServerID with 77", err)
		}
	})
}

// Readers of one log have server ids of their own.
func TestReadersOfOneLogDoNotFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, server := from(t, recorded.Load(t, recorded.Bank), mysql.Config{ServerID: 77})
		at, err := log.Start(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var readers []demux.Reader
		for range 3 {
			r, err := log.Open(t.Context(), at, nil)
			if err != nil {
				t.Fatal(err)
			}
			readers = append(readers, r)
		}
		for _, r := range readers {
			if _, err := drain(t.Context(), r); err != nil {
				t.Error(err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := readAll(t, log, at, nil); err != nil {
			t.Error(err)
		}
		var ids []uint32
		for _, d := range server.Dumps() {
			ids = append(ids, d.ServerID)
		}
		if fmt.Sprint(ids) != "[77 78 79 77]" {
			t.Errorf("server ids %v, want 77, 78, 79, and 77 again", ids)
		}
	})
}

func TestPlacesBeyond4GiB(t *testing.T) {
	bank := recorded.Load(t, recorded.Bank)
	n := bank.Find(40, func(e recorded.Event) bool { return e.Type() == replication.MARIADB_GTID_EVENT })
	r := bank.Shift(n, 3<<30).Shift(n+30, 3<<30) // in the first file; two steps, as no event is larger than 4 GiB
	t.Run("GTID goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log, _ := from(t, r, mysql.Config{})
			plain, _ := from(t, bank, mysql.Config{})
			if got, want := shown(mustRead(t, log)), shown(mustRead(t, plain)); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%d events, want %d", len(got), len(want))
			}
		})
	})
	t.Run("file has no place until the next one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			log, _ := from(t, r, mysql.Config{FilePosition: true})
			all := mustRead(t, log)
			var without, with int
			for _, e := range all {
				switch {
				case e.Kind != demux.End:
				case e.Place == "":
					without++
				case without > 0:
					with++
					if !strings.Contains(string(e.Place), r.Files[1].Name) {
						t.Errorf("place %s, want none in the first file", e.Place)
					}
				}
			}
			if without == 0 || with == 0 {
				t.Errorf("%d ends without a place, %d with one behind them, want both", without, with)
			}
		})
	})
}
