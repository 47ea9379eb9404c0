# MariaDB from the Debian packages mariadb-server-core and mariadb-client-core. Sourced by ../services.
# shellcheck shell=bash disable=SC2154

#   mariadb   29940, with a binary log of rows and GTIDs
mariadb_names() { echo mariadb; }

mariadb_nodes() { echo 1; }

mariadb_port() { echo $((ports + 940)); }

mariadb_address() { echo "$host:$(mariadb_port)"; }

# mariadb_program NAME: prints the path of a program. Those of the server may be in a folder that is not in PATH.
mariadb_program() {
	PATH=$PATH:/usr/sbin command -v "$1" || die "program $1 not found: install it (Debian: apt-get install mariadb-server-core mariadb-client-core)"
}

mariadb_get() {
	local program
	for program in mariadb-install-db mariadbd mariadb; do mariadb_program "$program" >/dev/null || return; done
}

# The binary log has all that a reader of changes needs: rows with both images, names of columns, one GTID a transaction.
mariadb_conf() { # mariadb_conf NAME NODE
	cat <<-C
		[mariadbd]
		datadir=$run/$1/$2.data
		socket=$run/$1/$2.sock
		pid-file=$run/$1/$2.data/mariadbd.pid
		init-file=$run/$1/$2.sql
		port=$(mariadb_port)
		bind-address=$host
		skip-name-resolve
		max-connections=200
		character-set-server=utf8mb4
		default-time-zone=+00:00

		server-id=1
		log-bin=$run/$1/$2.data/binlog
		binlog-format=ROW
		binlog-row-image=FULL
		binlog-row-metadata=FULL
		gtid-strict-mode=1

		# What is committed survives a loss of power: the data and the binary log.
		innodb-flush-log-at-trx-commit=1
		sync-binlog=1
	C
}

mariadb_launch() { # mariadb_launch NAME NODE
	local dir=$run/$1 user install server
	install=$(mariadb_program mariadb-install-db)
	server=$(mariadb_program mariadbd)
	user=$(id -un)
	mariadb_conf "$1" "$2" >"$dir/$2.cnf"
	# It runs at each start, one statement a line, and writes nothing to the binary log.
	cat >"$dir/$2.sql" <<-'Q'
		SET SESSION sql_log_bin = 0;
		CREATE DATABASE IF NOT EXISTS keystrand;
		CREATE USER IF NOT EXISTS keystrand@'%' IDENTIFIED BY 'keystrand';
		GRANT ALL PRIVILEGES ON *.* TO keystrand@'%' WITH GRANT OPTION;
	Q
	if [ ! -e "$dir/$2.data/installed" ]; then
		rm -rf "$dir/$2.data"
		"$install" --no-defaults "--datadir=$dir/$2.data" "--user=$user" --auth-root-authentication-method=normal \
			--skip-test-db --skip-name-resolve --skip-log-bin >"$dir/$2.log" 2>&1 || fail_start "$1" "$2" "cannot create its data"
		touch "$dir/$2.data/installed"
	fi
	# The server accepts no unknown argument: its name marks the process.
	launch "$1" "$2" bash -c 'exec -a "$0" "$@"' "$(marker "$1" "$2")" "$server" "--defaults-file=$dir/$2.cnf" "--user=$user"
}

mariadb_sql() { # mariadb_sql: runs the statements from its input, prints the rows without decoration
	MYSQL_PWD=keystrand "$(mariadb_program mariadb)" --no-defaults -h "$host" -P "$(mariadb_port)" -u keystrand --connect-timeout=5 -N -B keystrand
}

mariadb_answers() { mariadb_sql <<<'SELECT 1' >/dev/null; }

mariadb_check() {
	check_rows "$1" "$(mariadb_sql <<-'Q'
		CREATE TEMPORARY TABLE written ENGINE=InnoDB AS SELECT seq, repeat('x', seq) AS v FROM seq_1_to_100;
		SELECT count(*), sum(length(v)) FROM written;
		SELECT @@log_bin, @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, @@gtid_strict_mode;
		SELECT @@innodb_flush_log_at_trx_commit, @@sync_binlog, @@tx_isolation;
	Q
	)" $'100\t5050\n1\tROW\tFULL\tFULL\t1\n1\t1\tREPEATABLE-READ'
}

mariadb_env() {
	printf 'export KEYSTRAND_MARIADB=%q\n' "keystrand:keystrand@tcp($(mariadb_address))/keystrand"
	printf 'export KEYSTRAND_MARIADB_CTL=%q\n' "$here/services"
}
