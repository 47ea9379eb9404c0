# PostgreSQL from the Debian package. Sourced by ../services.
# shellcheck shell=bash disable=SC2154

#   postgres   29920
postgres_names() { echo postgres; }

postgres_nodes() { echo 1; }

postgres_port() { echo $((ports + 920)); }

postgres_address() { echo "$host:$(postgres_port)"; }

postgres_url() { echo "postgres://keystrand@$(postgres_address)/postgres?sslmode=disable"; }

# postgres_program NAME: prints the path of a program of the newest server. Debian keeps most of them out of PATH.
postgres_program() {
	local found
	found=$(printf '%s\n' /usr/lib/postgresql/*/bin/"$1" | sort -V | tail -n 1)
	[ -x "$found" ] || found=$(command -v "$1") || die "program $1 not found: install it (Debian: apt-get install postgresql)"
	echo "$found"
}

postgres_get() {
	local program
	for program in initdb postgres psql; do postgres_program "$program" >/dev/null || return; done
	need setpriv util-linux
}

# PostgreSQL refuses to run as root. Sets drop, the words before a command that run it as the user nobody.
postgres_unprivileged() {
	drop=()
	[ "$(id -u)" != 0 ] || drop=(setpriv --reuid nobody --regid "$(id -g nobody)" --clear-groups)
}

postgres_launch() { # postgres_launch NAME NODE
	local data=$run/$1/$2.data drop initdb postgres
	initdb=$(postgres_program initdb)
	postgres=$(postgres_program postgres)
	postgres_unprivileged
	if [ ! -s "$data/PG_VERSION" ]; then
		rm -rf "$data"
		mkdir -p "$data"
		[ ${#drop[@]} -eq 0 ] || chown nobody: "$data"
		(cd / && "${drop[@]}" "$initdb" -D "$data" -U keystrand -A trust -E UTF8 --no-locale --no-instructions) >"$run/$1/$2.log" 2>&1 ||
			fail_start "$1" "$2" "cannot create its data; if it may not enter $run, use a checkout that all users can read"
	fi
	# No server runs: "kill" has ended all its processes. The file of a killed one names a pid that init may not have reaped yet,
	# and PostgreSQL would refuse to start.
	rm -f "$data/postmaster.pid"
	# A parameter with a dot in its name can have any value: it marks the process. Durability (fsync, synchronous_commit) and
	# isolation keep their defaults.
	launch "$1" "$2" "${drop[@]}" "$postgres" -D "$data" -c "$(marker "$1" "$2")" -c "listen_addresses=$host" -p "$(postgres_port)" \
		-c unix_socket_directories= -c max_connections=200 -c timezone=UTC -c log_timezone=UTC
}

# PostgreSQL waits for its clients after SIGTERM, and cuts them off after SIGINT.
postgres_stop_signal() { echo INT; }

postgres_sql() { # postgres_sql: runs the statements from its input, prints the rows without decoration
	PGCONNECT_TIMEOUT=5 "$(postgres_program psql)" -X -q -A -t -v ON_ERROR_STOP=1 "$(postgres_url)"
}

postgres_answers() { postgres_sql <<<'SELECT 1' >/dev/null; }

postgres_check() {
	check_rows "$1" "$(postgres_sql <<-'Q'
		CREATE TEMPORARY TABLE written AS SELECT n, repeat('x', n) AS v FROM generate_series(1, 100) n;
		SELECT count(*), sum(length(v)) FROM written;
		SELECT current_setting('fsync'), current_setting('synchronous_commit'), current_setting('default_transaction_isolation');
	Q
	)" $'100|5050\non|on|read committed'
}

postgres_env() {
	printf 'export KEYSTRAND_POSTGRES=%q\n' "$(postgres_url)"
	printf 'export KEYSTRAND_POSTGRES_CTL=%q\n' "$here/services"
}
