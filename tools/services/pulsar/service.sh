# Apache Pulsar 4.0 standalone: broker, bookie and metadata in one process (Java 17, jars by Maven). Sourced by ../services.
# shellcheck shell=bash disable=SC2154

#   pulsar           29650, admin 29680 (bookie 29651): with batch-index acks and message indexes
#   pulsar-default   29750, admin 29780 (bookie 29751): default configuration
#   pulsar-tls       29850, admin 29880 (bookie 29851): like pulsar, TLS only, with tokens and permissions
pulsar_names() { printf '%s\n' pulsar pulsar-default pulsar-tls; }

pulsar_nodes() { echo 1; }

pulsar_port() { # pulsar_port NAME: port of the broker; the bookie's is one above, the admin's 30 above
	case $1 in
	pulsar) echo $((ports + 650)) ;;
	pulsar-default) echo $((ports + 750)) ;;
	pulsar-tls) echo $((ports + 850)) ;;
	esac
}

pulsar_address() { echo "$host:$(pulsar_port "$1")"; }

pulsar_url() { if [ "$1" = pulsar-tls ]; then echo "pulsar+ssl://$(pulsar_address "$1")"; else echo "pulsar://$(pulsar_address "$1")"; fi; }

pulsar_admin() {
	local scheme=http
	[ "$1" != pulsar-tls ] || scheme=https
	echo "$scheme://$host:$(($(pulsar_port "$1") + 30))"
}

pulsar_granted=keystrand/granted # namespace of pulsar-tls in which only alice may produce and consume

pulsar_get() {
	need java openjdk-17-jre-headless
	need openssl openssl
	get_jars pulsar Pulsar
	build_probe pulsar
}

# The default options start fast and leave CPU time to the tests. For measurements of speed use PULSAR_HEAP=1g. Netty's
# buffers and the caches are outside the heap.
pulsar_java() {
	if [ -n "${PULSAR_HEAP:-}" ]; then
		java_command=(java "-Xms$PULSAR_HEAP" "-Xmx$PULSAR_HEAP" "-XX:MaxDirectMemorySize=$PULSAR_HEAP")
	else
		java_command=(java -Xmx300m -XX:MaxDirectMemorySize=256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC)
	fi
	# Netty, the memory limiter and the metrics use these internal packages.
	local opened
	for opened in java.base/java.lang java.base/sun.net java.base/jdk.internal.platform java.management/sun.management \
		jdk.management/com.sun.management.internal; do
		java_command+=(--add-opens "$opened=ALL-UNNAMED")
	done
	java_command+=(-Dio.netty.tryReflectionSetAccessible=true "-Dlog4j2.configurationFile=$here/pulsar/log4j2.xml" -cp "$lib/pulsar/*")
}

pulsar_conf() { # pulsar_conf NAME
	local port
	port=$(pulsar_port "$1")
	cat <<-P
		clusterName=standalone
		bindAddress=$host
		advertisedAddress=$host

		# One node: no replication, no load balancing.
		managedLedgerDefaultEnsembleSize=1
		managedLedgerDefaultWriteQuorum=1
		managedLedgerDefaultAckQuorum=1
		loadBalancerEnabled=false

		# Without allowEphemeralPorts the embedded bookie ignores its configured port. It picks a free port of the range for
		# outgoing connections at its first start, and needs the same port at each later start.
		allowEphemeralPorts=true
		allowLoopback=true
		listeningInterface=lo
		# A nearly full disk would make the bookie read-only.
		diskUsageThreshold=0.999
		diskUsageWarnThreshold=0.99
		diskUsageLwmThreshold=0.99
	P
	case $1 in
	pulsar | pulsar-tls)
		cat <<-P

			# Acks inside a batch. Default: false. Other programs on a cluster can need them.
			acknowledgmentAtBatchIndexLevelEnabled=true

			# Message.Index, which the source uses. Default: off.
			brokerEntryMetadataInterceptors=org.apache.pulsar.common.intercept.AppendIndexMetadataInterceptor,org.apache.pulsar.common.intercept.AppendBrokerTimestampMetadataInterceptor
			exposingBrokerEntryMetadataToClientEnabled=true

			# Delay before a chosen failover consumer gets messages. Default: 1000.
			activeConsumerFailoverDelayTimeMillis=100

			# The broker disconnects a frozen client after 5 to 10 s. Default: 30, so 30 to 60 s.
			keepAliveIntervalSeconds=5

			# The broker creates topics on demand, unless the namespace's policy forbids it. It deletes none by itself; tests
			# delete a topic, or its namespace.
			allowAutoTopicCreation=true
			allowAutoTopicCreationType=non-partitioned
			brokerDeleteInactiveTopicsEnabled=false
			forceDeleteNamespaceAllowed=true
			forceDeleteTenantAllowed=true
		P
		;;
	esac
	if [ "$1" = pulsar-tls ]; then
		local dir=$run/$1
		cat <<-P

			# No port without TLS. The broker's own clients use TLS, too.
			brokerServicePort=
			webServicePort=
			brokerServicePortTls=$port
			webServicePortTls=$((port + 30))
			tlsCertificateFilePath=$dir/server.crt
			tlsKeyFilePath=$dir/server.key
			brokerClientTlsEnabled=true
			brokerClientTrustCertsFilePath=$dir/ca.pem

			authenticationEnabled=true
			authenticationProviders=org.apache.pulsar.broker.authentication.AuthenticationProviderToken
			tokenSecretKey=file://$dir/secret.key
			authorizationEnabled=true
			superUserRoles=admin
			brokerClientAuthenticationPlugin=org.apache.pulsar.client.impl.auth.AuthenticationToken
			brokerClientAuthenticationParameters=file://$dir/admin.token
		P
	else
		cat <<-P
			brokerServicePort=$port
			webServicePort=$((port + 30))
		P
	fi
}

# Creates an HMAC secret and a token for each role.
pulsar_tokens() ( # pulsar_tokens DIR
	umask 077
	openssl rand -out "$1/secret.key" 32 || return 1
	for role in admin alice carol; do
		"$run/bin/pulsarprobe" token -secret "$1/secret.key" "$role" >"$1/$role.token" || return 1
	done
)

# A killed broker leaves its bookie registered in the metadata. The next start removes that entry while it registers its
# own. If the two events arrive in the wrong order, the broker believes that its own entry was removed, and from then on
# removes and registers it in an endless loop. Writes then fail with "Not enough non-faulty bookies". This happened after
# two of five kills. Listing the bookies before the start removes the old entry without a race.
pulsar_forget_bookie() { # pulsar_forget_bookie NAME NODE; needs java_command
	local dir=$run/$1 driver=org.apache.pulsar.metadata.bookkeeper.PulsarMetadata
	[ -d "$dir/$2.data/metadata" ] || return 0
	echo "metadataServiceUri=metadata-store:rocksdb://$dir/$2.data/metadata" >"$dir/$2.bookie.conf"
	"${java_command[@]}" "-Djava.io.tmpdir=$dir/$2.tmp" "-Dbookkeeper.metadata.bookie.drivers=${driver}BookieDriver" \
		"-Dbookkeeper.metadata.client.drivers=${driver}ClientDriver" \
		org.apache.bookkeeper.bookie.BookieShell -conf "$dir/$2.bookie.conf" listbookies -a >"$dir/$2.bookie.log" 2>&1 ||
		die "remove the killed bookie from the metadata of $1: BookKeeper failed; its log: $dir/$2.bookie.log"
}

pulsar_launch() { # pulsar_launch NAME NODE
	local dir=$run/$1 java_command
	if [ "$1" = pulsar-tls ] && [ ! -s "$dir/carol.token" ]; then
		certificates "$dir" || die "create certificates: openssl failed; its log: $dir/openssl.log"
		pulsar_tokens "$dir" || die "create the tokens of $1: openssl or pulsarprobe failed, see the message above"
	fi
	pulsar_java
	pulsar_conf "$1" >"$dir/$2.conf"
	# Each start unpacks native libraries (13 MB), and a killed process does not remove them.
	rm -rf "$dir/$2.tmp"
	mkdir -p "$dir/$2.tmp"
	pulsar_forget_bookie "$1" "$2"
	launch "$1" "$2" "${java_command[@]}" "-D$(marker "$1" "$2")" "-Djava.io.tmpdir=$dir/$2.tmp" \
		org.apache.pulsar.PulsarStandaloneStarter --config "$dir/$2.conf" --no-functions-worker --no-stream-storage \
		--metadata-dir "$dir/$2.data/metadata" --bookkeeper-dir "$dir/$2.data/bookies" \
		--bookkeeper-port "$(($(pulsar_port "$1") + 1))"
}

# Sets the credentials for pulsar-tls; the other services need none.
pulsar_identity() { # pulsar_identity NAME: sets identity
	identity=()
	[ "$1" != pulsar-tls ] || identity=(-ca "$run/$1/ca.pem" -token "$run/$1/admin.token")
}

# A broker passes its health check before it has its first namespace, so the probe checks both.
pulsar_answers() { # pulsar_answers NAME NODE
	local identity
	pulsar_identity "$1"
	"$run/bin/pulsarprobe" ready "${identity[@]}" "$(pulsar_admin "$1")" || return 1
	[ "$1" != pulsar-tls ] || "$run/bin/pulsarprobe" grant "${identity[@]}" "$(pulsar_admin "$1")" "$pulsar_granted" alice
}

pulsar_check() {
	pulsar_get
	case $1 in
	pulsar) "$run/bin/pulsarprobe" roundtrip -extras "$(pulsar_admin "$1")" "$(pulsar_url "$1")" ;;
	pulsar-default) "$run/bin/pulsarprobe" roundtrip "$(pulsar_admin "$1")" "$(pulsar_url "$1")" ;;
	pulsar-tls) "$run/bin/pulsarprobe" secured -files "$run/$1" -namespace "$pulsar_granted" "$(pulsar_admin "$1")" "$(pulsar_url "$1")" ;;
	esac
}

pulsar_env() {
	case $1 in
	pulsar)
		echo "export KEYSTRAND_PULSAR=$(pulsar_url "$1")"
		echo "export KEYSTRAND_PULSAR_ADMIN=$(pulsar_admin "$1")"
		;;
	pulsar-default)
		echo "export KEYSTRAND_PULSAR_DEFAULT=$(pulsar_url "$1")"
		echo "export KEYSTRAND_PULSAR_DEFAULT_ADMIN=$(pulsar_admin "$1")"
		;;
	pulsar-tls)
		echo "export KEYSTRAND_PULSAR_TLS=$(pulsar_url "$1")"
		echo "export KEYSTRAND_PULSAR_TLS_ADMIN=$(pulsar_admin "$1")"
		echo "export KEYSTRAND_PULSAR_TLS_NAMESPACE=$pulsar_granted"
		printf 'export KEYSTRAND_PULSAR_CA=%q\n' "$run/$1/ca.pem"
		printf 'export KEYSTRAND_PULSAR_TOKEN=%q\n' "$run/$1/alice.token"
		printf 'export KEYSTRAND_PULSAR_TOKEN_DENIED=%q\n' "$run/$1/carol.token"
		printf 'export KEYSTRAND_PULSAR_TOKEN_ADMIN=%q\n' "$run/$1/admin.token"
		;;
	esac
	printf 'export KEYSTRAND_PULSAR_CTL=%q\n' "$here/services"
}
