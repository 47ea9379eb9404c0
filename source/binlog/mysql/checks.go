package mysql

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// check returns all reasons at once why the log of the server cannot be read, each with the statement that helps.
func (s *server) check(ctx context.Context, f facts) error {
	var errs []error
	wrong := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("server %s: "+format, append([]any{s.addr}, args...)...))
	}
	if !on(f["log_bin"]) {
		wrong("log_bin is %s: put log_bin=ON into its configuration file, and restart it", f["log_bin"])
	}
	for _, v := range []struct{ name, want string }{
		{"binlog_format", "ROW"},
		{"binlog_row_image", "FULL"},
		{"binlog_row_metadata", "FULL"},
	} {
		switch got, known := f[v.name]; {
		case !known && v.name == "binlog_format": // a server that knows rows only
		case !known:
			wrong("it is %s and has no %s: the names of columns are not in the log before MariaDB 10.5 and MySQL 8.0.1", f["version"], v.name)
		case !strings.EqualFold(got, v.want):
			wrong("%s is %s: run SET GLOBAL %s = '%s', put it into its configuration file, and reconnect the programs that write",
				v.name, got, v.name, v.want)
		}
	}
	if got := f["binlog_row_value_options"]; got != "" {
		wrong("binlog_row_value_options is %s: run SET GLOBAL binlog_row_value_options = '', and put it into its configuration file", got)
	}
	if got, known := f["gtid_mode"]; known && !s.files && !on(got) {
		wrong("gtid_mode is %s: set it to ON in the steps of the server's manual, or set Config.FilePosition", got)
	}
	if got := cmp.Or(f["log_slave_updates"], f["log_replica_updates"]); got != "" && !on(got) {
		replica, err := s.isReplica(ctx, f)
		if err != nil {
			errs = append(errs, err)
		}
		if replica {
			wrong("it is a replica and log_slave_updates is %s, so its log lacks the changes of its primary: put log_slave_updates=ON into "+
				"its configuration file and restart it. If it replicates no more, run RESET SLAVE ALL", got)
		}
	}
	missing, err := s.missingPrivileges(ctx, f)
	if err != nil {
		errs = append(errs, err)
	}
	if len(missing) > 0 {
		wrong("its user may not read the log: run GRANT %s ON *.* TO that user", strings.Join(missing, ", "))
	}
	return errors.Join(errs...)
}

func on(value string) bool { return strings.EqualFold(value, "ON") || value == "1" }

// allTables matches a grant on everything, and finds its privileges.
var allTables = regexp.MustCompile(`(?i)^GRANT (.*) ON \*\.\* TO `)

// missingPrivileges returns the privileges that the user lacks. A user who has roles may have them by these; the server tells
// at the first reading.
func (s *server) missingPrivileges(ctx context.Context, f facts) ([]string, error) {
	rows, err := s.query(ctx, "SHOW GRANTS")
	if err != nil {
		return nil, err
	}
	status := "REPLICATION CLIENT"
	if f.mariadb() && f.atLeast(10, 5) {
		status = "BINLOG MONITOR"
	}
	missing := map[string]bool{"REPLICATION SLAVE": true, status: true}
	for _, r := range rows {
		if !strings.Contains(strings.ToUpper(r[0]), " ON ") {
			return nil, nil // a role
		}
		m := allTables.FindStringSubmatch(r[0])
		if m == nil {
			continue
		}
		for p := range strings.SplitSeq(strings.ToUpper(m[1]), ",") {
			switch p = strings.TrimSpace(p); p {
			case "ALL", "ALL PRIVILEGES":
				return nil, nil
			case "REPLICATION REPLICA": // MariaDB's other name
				p = "REPLICATION SLAVE"
			}
			delete(missing, p)
		}
	}
	var names []string
	for _, p := range []string{"REPLICATION SLAVE", status} {
		if missing[p] {
			names = append(names, p)
		}
	}
	return names, nil
}
