# Apache Pulsar 4.0 standalone: broker, bookie and metadata in one process (Java 17, jars by Maven). Sourced by ../services.
# shellcheck shell=bash disable=SC2154

#   pulsar           29650, admin 29680 (bookie 29651): what a source may make use of is switched on
#   pulsar-default   29750, admin 29780 (bookie 29751): as brokers come
#   pulsar-tls       29850, admin 29880 (bookie 29851): as pulsar, by TLS only, with tokens and permissions
pulsar_names() { printf '%s\n' pulsar pulsar-default pulsar-tls; }

pulsar_nodes() { echo 1; }

pulsar_port() { # pulsar_port NAME: of the broker; the bookie's is one above, the admin's 30
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

pulsar_granted=keystrand/granted # of pulsar-tls: where alice may produce and consume, and nobody else

pulsar_get() {
	need java openjdk-17-jre-headless
	need openssl openssl
	get_jars pulsar Pulsar
	build_probe pulsar
}

# As for Kafka: small and quick to start, unless PULSAR_HEAP=1g asks for a broker as it runs elsewhere. Netty's buffers
# and the caches lie outside the heap.
pulsar_java() {
	if [ -n "${PULSAR_HEAP:-}" ]; then
		java_command=(java "-Xms$PULSAR_HEAP" "-Xmx$PULSAR_HEAP" "-XX:MaxDirectMemorySize=$PULSAR_HEAP")
	else
		java_command=(java -Xmx300m -XX:MaxDirectMemorySize=256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC)
	fi
	# What Netty, the memory limiter and the metrics reach into.
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

		# One node: nothing to replicate to, nobody to give load to.
		managedLedgerDefaultEnsembleSize=1
		managedLedgerDefaultWriteQuorum=1
		managedLedgerDefaultAckQuorum=1
		loadBalancerEnabled=false

		# The bookie. Without "ephemeral" the embedded one does not take the port it is given, but at its first start any free
		# one among those that outgoing connections get, and wants the same one back after a stop or a kill.
		allowEphemeralPorts=true
		allowLoopback=true
		listeningInterface=lo
		# A disk that is nearly full would make it read-only.
		diskUsageThreshold=0.999
		diskUsageWarnThreshold=0.99
		diskUsageLwmThreshold=0.99
	P
	case $1 in
	pulsar | pulsar-tls)
		cat <<-P

			# Acks inside a batch, which brokers have off as they come: other programs on a cluster can need them.
			acknowledgmentAtBatchIndexLevelEnabled=true

			# Message.Index, which the source uses and brokers have off as they come.
			brokerEntryMetadataInterceptors=org.apache.pulsar.common.intercept.AppendIndexMetadataInterceptor,org.apache.pulsar.common.intercept.AppendBrokerTimestampMetadataInterceptor
			exposingBrokerEntryMetadataToClientEnabled=true

			# A failover consumer that was chosen gets nothing for so long (1000 as brokers come).
			activeConsumerFailoverDelayTimeMillis=100

			# A client that is frozen is missed after 5 to 10 s (30 to 60 as brokers come).
			keepAliveIntervalSeconds=5

			# Topics come on demand, unless the namespace's policy says otherwise. They go when a test deletes them, alone or
			# with their namespace, and not by themselves.
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

			# No port without TLS; the broker's own clients come the same way.
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

# An HMAC secret and what it signs: a token for each role.
pulsar_tokens() ( # pulsar_tokens DIR
	umask 077
	openssl rand -out "$1/secret.key" 32 || return 1
	for role in admin alice carol; do
		"$run/bin/pulsarprobe" token -secret "$1/secret.key" "$role" >"$1/$role.token" || return 1
	done
)

# A broker that was killed leaves the name of its bookie in the metadata. The next one takes it out while it puts its own
# in; if it hears of the first after the second, it believes that its own was taken out, and from then on takes it out and
# puts it in without an end: a hundred times a second there is no bookie ("Not enough non-faulty bookies"). Two of
# five kills ended so. To list the bookies beforehand takes the name out while nobody listens.
pulsar_forget_bookie() { # pulsar_forget_bookie NAME NODE; needs java_command
	local dir=$run/$1 driver=org.apache.pulsar.metadata.bookkeeper.PulsarMetadata
	[ -d "$dir/$2.data/metadata" ] || return 0
	echo "metadataServiceUri=metadata-store:rocksdb://$dir/$2.data/metadata" >"$dir/$2.bookie.conf"
	"${java_command[@]}" "-Djava.io.tmpdir=$dir/$2.tmp" "-Dbookkeeper.metadata.bookie.drivers=${driver}BookieDriver" \
		"-Dbookkeeper.metadata.client.drivers=${driver}ClientDriver" \
		org.apache.bookkeeper.bookie.BookieShell -conf "$dir/$2.bookie.conf" listbookies -a >"$dir/$2.bookie.log" 2>&1 ||
		die "cannot take what a killed broker has left out of the metadata of $1; its words: $dir/$2.bookie.log"
}

pulsar_launch() { # pulsar_launch NAME NODE
	local dir=$run/$1 java_command
	if [ "$1" = pulsar-tls ] && [ ! -s "$dir/carol.token" ]; then
		certificates "$dir" || die "openssl failed; its words: $dir/openssl.log"
		pulsar_tokens "$dir" || die "cannot make the tokens of $1"
	fi
	pulsar_java
	pulsar_conf "$1" >"$dir/$2.conf"
	# Native libraries are unpacked at each start, and a killed process leaves them: 13 MB in a folder that is ours to empty.
	rm -rf "$dir/$2.tmp"
	mkdir -p "$dir/$2.tmp"
	pulsar_forget_bookie "$1" "$2"
	launch "$1" "$2" "${java_command[@]}" "-D$(marker "$1" "$2")" "-Djava.io.tmpdir=$dir/$2.tmp" \
		org.apache.pulsar.PulsarStandaloneStarter --config "$dir/$2.conf" --no-functions-worker --no-stream-storage \
		--metadata-dir "$dir/$2.data/metadata" --bookkeeper-dir "$dir/$2.data/bookies" \
		--bookkeeper-port "$(($(pulsar_port "$1") + 1))"
}

# Which files to show to pulsar-tls; the other two ask for nothing.
pulsar_identity() { # pulsar_identity NAME: sets identity
	identity=()
	[ "$1" != pulsar-tls ] || identity=(-ca "$run/$1/ca.pem" -token "$run/$1/admin.token")
}

# The broker is healthy before it has its first namespace, so that is asked for too.
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
