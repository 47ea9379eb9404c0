package sql_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/keystrand/keystrand/commit"
	commitsql "github.com/keystrand/keystrand/commit/sql"
	"github.com/keystrand/keystrand/internal/sqlstore"
)

func TestDamagedRowIsAnErrorThatNamesItAndNeverAStartFrom0(t *testing.T) {
	damaged(t, newFile(t))
}

func TestLiveDamagedRowIsAnErrorThatNamesItAndNeverAStartFrom0(t *testing.T) {
	onServices(t, damaged)
}

func damaged(t *testing.T, db database) {
	t.Helper()
	pool := db.pool(t, nil)
	s := db.store(t, pool, commitsql.Config{})
	concat := "progress || 'x'"
	if db.service == "mariadb" {
		concat = "CONCAT(progress, 'x')"
	}
	for i, c := range []struct {
		name, statement string // %s: the condition of the partition
		table           string
		want            error
	}{
		{"text longer", "UPDATE keystrand_commit_progress SET progress = " + concat + " WHERE %s", "progress", commit.ErrCorrupt},
		{"text cut", "UPDATE keystrand_commit_progress SET progress = SUBSTR(progress, 1, 12) WHERE %s", "progress", commit.ErrCorrupt},
		{"text empty", "UPDATE keystrand_commit_progress SET progress = '' WHERE %s", "progress", commit.ErrCorrupt},
		{"text of another program", "UPDATE keystrand_commit_progress SET progress = '42' WHERE %s", "progress", commit.ErrCorrupt},
		{"text of a later version", "UPDATE keystrand_commit_progress SET progress = 'ks:99:x' WHERE %s", "progress", commit.ErrVersion},
		{"progress deleted", "DELETE FROM keystrand_commit_progress WHERE %s", "progress", commit.ErrCorrupt},
		{"owner deleted", "DELETE FROM keystrand_commit_owners WHERE %s", "progress", commit.ErrCorrupt},
		{"epoch set back", "UPDATE keystrand_commit_owners SET epoch = 1 WHERE %s", "progress", commit.ErrCorrupt},
		{"epoch negative", "UPDATE keystrand_commit_owners SET epoch = -1 WHERE %s", "owners", commit.ErrCorrupt},
		{"epoch without a successor", "UPDATE keystrand_commit_owners SET epoch = 9223372036854775807 WHERE %s", "owners", commit.ErrCorrupt},
		{"row of another partition", "UPDATE keystrand_commit_owners SET number = 99 WHERE %s", "owners", commit.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			partition := int32(i)
			claim(t, s, partition)
			save(t, s, partition, claim(t, s, partition).Epoch, 1000)
			save(t, s, 1000, claim(t, s, 1000).Epoch, 7) // a neighbour
			hash := fmt.Sprintf("%x", sqlstore.Place("billing", "orders", partition))
			where := "hash = x'" + hash + "'"
			if db.dialect == commitsql.PostgreSQL {
				where = `hash = '\x` + hash + "'"
			}
			exec1(t, pool, fmt.Sprintf(c.statement, where))
			for range 2 { // the first one changes nothing
				_, err := s.Claim(t.Context(), "orders", partition, 0)
				if !errors.Is(err, c.want) || errors.Is(err, commit.ErrVersion) && errors.Is(err, commit.ErrCorrupt) {
					t.Fatalf("Claim = %v, want an error that wraps %v", err, c.want)
				}
				for _, part := range []string{"keystrand_commit_" + c.table, hash, fmt.Sprintf("orders/%d", partition)} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("Claim = %v, want an error with %q", err, part)
					}
				}
			}
			if p := claim(t, s, 1000); p.Frontier != 7 {
				t.Errorf("the neighbour has %+v", *p)
			}
			// What the error advises works.
			exec1(t, pool, "DELETE FROM keystrand_commit_owners WHERE "+where)
			exec1(t, pool, "DELETE FROM keystrand_commit_progress WHERE "+where)
			if p := claim(t, s, partition); p.Frontier != 0 {
				t.Errorf("claim of a partition that begins anew = %+v", *p)
			}
		})
	}
}

// A row that is deleted under its owner makes it lose the partition: the next Claim finds the damage.
func TestOwnerWhoseRowIsDeletedIsFenced(t *testing.T) {
	db := newFile(t)
	pool := db.pool(t, nil)
	s := db.store(t, pool, commitsql.Config{})
	epoch := claim(t, s, 1).Epoch
	exec1(t, pool, "DELETE FROM keystrand_commit_owners")
	if err := s.Save(t.Context(), "orders", 1, progressAt(epoch, 1)); !errors.Is(err, commit.ErrFenced) || !strings.Contains(err.Error(), "deleted") {
		t.Errorf("Save = %v, want ErrFenced", err)
	}
}

func progressAt(epoch, frontier int64) *commit.Progress {
	return &commit.Progress{Epoch: epoch, Frontier: frontier}
}
