# MariaDB from the Debian packages mariadb-server-core and mariadb-client-core. Sourced by ../services.
# shellcheck shell=bash disable=SC2154

#   mariadb   29940 and 29941, each with a binary log of rows and GTIDs. One node is the primary, the other its replica
mariadb_names() { echo mariadb; }

mariadb_nodes() { printf '%s\n' 1 2; }

mariadb_port() { echo $((ports + 939 + $1)); } # mariadb_port NODE

mariadb_address() { echo "$host:$(mariadb_port "$2")"; } # mariadb_address NAME NODE

# mariadb_program NAME: prints the path of a program. Those of the server may be in a folder that is not in PATH.
mariadb_program() {
	PATH=$PATH:/usr/sbin command -v "$1" || die "program $1 not found: install it (Debian: apt-get install mariadb-server-core mariadb-client-core)"
}

mariadb_get() {
	local program
	for program in mariadb-install-db mariadbd mariadb; do mariadb_program "$program" >/dev/null || return; done
}

# mariadb_primary NAME: prints the node that was promoted last.
mariadb_primary() { cat "$run/$1/primary" 2>/dev/null || echo 1; }

# mariadb_read_only NAME NODE: prints 1 for a replica.
mariadb_read_only() { if [ "$(mariadb_primary "$1")" = "$2" ]; then echo 0; else echo 1; fi; }

# The binary log has all that a reader of changes needs: rows with both images, names of columns, one GTID a transaction. A
# replica logs what it replicates, so a reader can go on there.
mariadb_conf() { # mariadb_conf NAME NODE
	cat <<-C
		[mariadbd]
		datadir=$run/$1/$2.data
		socket=$run/$1/$2.sock
		pid-file=$run/$1/$2.data/mariadbd.pid
		init-file=$run/$1/$2.sql
		port=$(mariadb_port "$2")
		bind-address=$host
		skip-name-resolve
		max-connections=200
		character-set-server=utf8mb4
		default-time-zone=+00:00

		innodb-buffer-pool-size=32M
		innodb-log-file-size=32M
		innodb-log-buffer-size=2M
		key-buffer-size=1M
		aria-pagecache-buffer-size=1M

		server-id=$2
		log-bin=$run/$1/$2.data/binlog
		relay-log=$run/$1/$2.data/relay
		binlog-format=ROW
		binlog-row-image=FULL
		binlog-row-metadata=FULL
		gtid-strict-mode=1
		log-slave-updates=1
		slave-net-timeout=4
		skip-slave-start=1
		read-only=$(mariadb_read_only "$1" "$2")

		# What is committed survives a loss of power: the data and the binary log.
		innodb-flush-log-at-trx-commit=1
		sync-binlog=1
	C
}

# mariadb_follow NAME: prints the statements that make a node a replica of the primary, one a line. What the node has logged as
# a primary counts as replicated.
mariadb_follow() {
	cat <<-Q
		STOP SLAVE;
		CHANGE MASTER TO MASTER_HOST='$host', MASTER_PORT=$(mariadb_port "$(mariadb_primary "$1")"), MASTER_USER='keystrand', MASTER_PASSWORD='keystrand', MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos, MASTER_DEMOTE_TO_SLAVE=1;
		START SLAVE;
	Q
}

mariadb_launch() { # mariadb_launch NAME NODE
	local dir=$run/$1 user install server
	install=$(mariadb_program mariadb-install-db)
	server=$(mariadb_program mariadbd)
	user=$(id -un)
	mariadb_conf "$1" "$2" >"$dir/$2.cnf"
	# It runs at each start, one statement a line, and writes nothing to the binary log. A replica refuses writes of keystrand.
	cat >"$dir/$2.sql" <<-'Q'
		SET SESSION sql_log_bin = 0;
		CREATE DATABASE IF NOT EXISTS keystrand;
		CREATE USER IF NOT EXISTS keystrand@'%' IDENTIFIED BY 'keystrand';
		GRANT ALL PRIVILEGES ON *.* TO keystrand@'%' WITH GRANT OPTION;
		REVOKE READ ONLY ADMIN ON *.* FROM keystrand@'%';
	Q
	[ "$(mariadb_primary "$1")" = "$2" ] || mariadb_follow "$1" >>"$dir/$2.sql"
	if [ ! -e "$dir/$2.data/installed" ]; then
		rm -rf "$dir/$2.data"
		"$install" --no-defaults "--datadir=$dir/$2.data" "--user=$user" --auth-root-authentication-method=normal \
			--skip-test-db --skip-name-resolve --skip-log-bin >"$dir/$2.log" 2>&1 || fail_start "$1" "$2" "cannot create its data"
		touch "$dir/$2.data/installed"
	fi
	# The server accepts no unknown argument: its name marks the process.
	launch "$1" "$2" bash -c 'exec -a "$0" "$@"' "$(marker "$1" "$2")" "$server" "--defaults-file=$dir/$2.cnf" "--user=$user"
}

mariadb_client() { # mariadb_client NODE ARGUMENT...: runs the statements from its input as the user of the tests
	MYSQL_PWD=keystrand "$(mariadb_program mariadb)" --no-defaults -h "$host" -P "$(mariadb_port "$1")" -u keystrand --connect-timeout=5 "${@:2}" keystrand
}

mariadb_sql() { mariadb_client "$1" -N -B; } # mariadb_sql NODE: prints the rows without decoration

# mariadb_root NAME NODE: runs statements that the user of the tests may not run. Fails if the node does not answer in 5 s.
mariadb_root() {
	"$(mariadb_program mariadb)" --no-defaults -S "$run/$1/$2.sock" -u root --connect-timeout=5 -N -B
}

# mariadb_replication NODE FIELD: prints a field of the node's replication.
mariadb_replication() { mariadb_client "$1" -E <<<'SHOW ALL SLAVES STATUS' | sed -n "s/^ *$2: //p"; }

# A replica answers if its threads run. They also run while they wait for a primary that does not.
mariadb_answers() { # mariadb_answers NAME NODE
	mariadb_sql "$2" <<<'SELECT 1' >/dev/null || return
	[ "$(mariadb_primary "$1")" != "$2" ] || return 0
	[[ $(mariadb_replication "$2" Slave_IO_Running) =~ ^(Yes|Connecting|Preparing)$ ]] &&
		[ "$(mariadb_replication "$2" Slave_SQL_Running)" = Yes ] && return
	echo "it does not replicate: $(mariadb_replication "$2" Last_IO_Error) $(mariadb_replication "$2" Last_SQL_Error)" >&2
	return 1
}

# The old primary, if it answers, refuses writes from then on, and the node first replicates everything it has. Otherwise the node
# applies what it has received. A node that does not answer becomes a replica when it is started, or at the next promotion.
mariadb_promote() { # mariadb_promote NAME NODE
	local name=$1 node=$2 old other position
	old=$(mariadb_primary "$name")
	if [ "$old" != "$node" ]; then
		position=$(mariadb_root "$name" "$old" <<<'SET GLOBAL read_only = 1; SELECT @@gtid_binlog_pos' 2>/dev/null) || {
			mariadb_root "$name" "$node" <<<'STOP SLAVE IO_THREAD'
			position=$(mariadb_replication "$node" Gtid_IO_Pos)
		}
		[ "$(mariadb_root "$name" "$node" <<<"SELECT MASTER_GTID_WAIT('$position', 30)")" = 0 ] ||
			die "$name node $node has not applied $position in 30 s: $(mariadb_replication "$node" Last_SQL_Error)"
		mariadb_root "$name" "$node" <<<'STOP SLAVE; RESET SLAVE ALL; SET GLOBAL read_only = 0'
		echo "$node" >"$run/$name/primary"
	fi
	for other in $(mariadb_nodes "$name"); do
		[ "$other" != "$node" ] || continue
		{ echo 'SET GLOBAL read_only = 1;' && mariadb_follow "$name"; } | mariadb_root "$name" "$other" 2>/dev/null ||
			echo "services: $name node $other does not answer; it becomes a replica when it is started" >&2
	done
}

# Each check has a table of its own, since several may run at the same time.
mariadb_check() {
	local node table=checked_$$ primary position wait
	primary=$(mariadb_primary "$1")
	mariadb_sql "$primary" <<-Q
		CREATE TABLE $table ENGINE=InnoDB AS SELECT seq, repeat('x', seq) AS v FROM seq_1_to_100;
	Q
	position=$(mariadb_sql "$primary" <<<'SELECT @@gtid_binlog_pos')
	for node in $(mariadb_nodes "$1"); do
		wait=
		[ "$node" = "$primary" ] || wait="DO MASTER_GTID_WAIT('$position', 30);"
		check_rows "$1 node $node" "$(mariadb_sql "$node" <<-Q
			$wait
			SELECT count(*), sum(length(v)) FROM $table;
			SELECT @@log_bin, @@binlog_format, @@binlog_row_image, @@binlog_row_metadata, @@gtid_strict_mode, @@log_slave_updates;
			SELECT @@innodb_flush_log_at_trx_commit, @@sync_binlog, @@tx_isolation, @@read_only;
		Q
		)" $'100\t5050\n1\tROW\tFULL\tFULL\t1\t1\n1\t1\tREPEATABLE-READ\t'"$(mariadb_read_only "$1" "$node")"
	done
	mariadb_sql "$primary" <<<"DROP TABLE $table"
}

mariadb_env() {
	printf 'export KEYSTRAND_MARIADB=%q\n' "keystrand:keystrand@tcp($(mariadb_address "$1" 1))/keystrand"
	printf 'export KEYSTRAND_MARIADB_REPLICA=%q\n' "keystrand:keystrand@tcp($(mariadb_address "$1" 2))/keystrand"
	printf 'export KEYSTRAND_MARIADB_CTL=%q\n' "$here/services"
}
