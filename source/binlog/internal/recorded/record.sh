#!/usr/bin/env bash
# Records the binary logs in testdata, each from its SQL: record.sh [NAME...]. Each runs on a MariaDB of its own, which is empty at
# first and removed at the end (Debian: mariadb-server-core, mariadb-client-core). What a recording has is in doc.go.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$PATH:/usr/sbin
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; wait; rm -rf "$work"' EXIT

variables="binlog_annotate_row_events binlog_checksum binlog_format binlog_row_image binlog_row_metadata character_set_server
	collation_server gtid_binlog_pos gtid_binlog_state gtid_current_pos gtid_domain_id gtid_slave_pos gtid_strict_mode log_bin
	log_bin_compress log_slave_updates lower_case_table_names master_verify_checksum max_allowed_packet read_only server_id sql_mode
	time_zone version version_comment"

sql() { mariadb --no-defaults -S "$work/sock" -u root --default-character-set=utf8mb4 "$@"; }

start() {
	rm -rf "$work/data"
	mariadb-install-db --no-defaults --datadir="$work/data" --user="$(id -un)" --auth-root-authentication-method=normal \
		--skip-test-db --skip-name-resolve --skip-log-bin >"$work/log" 2>&1 || { cat "$work/log" >&2 && exit 1; }
	mariadbd --no-defaults --datadir="$work/data" --user="$(id -un)" --socket="$work/sock" --skip-networking \
		--innodb-buffer-pool-size=16M --innodb-log-file-size=16M --innodb-flush-log-at-trx-commit=0 \
		--character-set-server=utf8mb4 --default-time-zone=+00:00 \
		--server-id=1 --log-bin=binlog --sync-binlog=0 --gtid-strict-mode=1 --log-slave-updates=1 \
		--binlog-format=ROW --binlog-row-image=FULL --binlog-row-metadata=FULL >>"$work/log" 2>&1 &
	server=$!
	until sql -e 'SELECT 1' >/dev/null 2>&1; do
		kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2 && exit 1; }
		sleep 0.1
	done
}

record() {
	local name=$1 dir=$here/testdata/$1 file table
	local users="table_schema NOT IN ('mysql', 'information_schema', 'performance_schema', 'sys')"
	rm -rf "$dir"
	mkdir -p "$dir/tables"
	start
	sql <"$here/testdata/$name.sql" >/dev/null
	sql -e 'FLUSH BINARY LOGS'
	for file in "$work"/data/binlog.[0-9]*; do gzip -9n <"$file" >"$dir/$(basename "$file").gz"; done
	sql -B -e "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('$(echo $variables | sed "s/ /','/g")')" >"$dir/variables.tsv"
	sql -B -e "SELECT * FROM information_schema.columns WHERE $users ORDER BY table_schema, table_name, ordinal_position" >"$dir/columns.tsv"
	sql -B -e "SELECT * FROM information_schema.statistics WHERE $users ORDER BY table_schema, table_name, index_name, seq_in_index" >"$dir/statistics.tsv"
	sql -N -B -e "SELECT concat(table_schema, '.', table_name) FROM information_schema.tables WHERE $users AND table_type = 'BASE TABLE' AND table_name RLIKE '^[a-z_]+$'" |
		while IFS= read -r table; do
			sql -B -e "SELECT * FROM \`${table%%.*}\`.\`${table#*.}\`" </dev/null | gzip -9n >"$dir/tables/$table.tsv.gz"
		done
	kill "$server"
	wait "$server" || true
	server=
	echo "$name: $(cat "$dir"/binlog.*.gz | wc -c) bytes"
}

[ $# -gt 0 ] || set -- $(cd "$here/testdata" && basename -s .sql ./*.sql)
for name in "$@"; do record "$name"; done
