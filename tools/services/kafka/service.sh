# Apache Kafka 4.4 in KRaft mode (Java 17, jars by Maven). Sourced by ../services.
# shellcheck shell=bash disable=SC2154

#   kafka        one node,    29092 (controller 29093)
#   kafka3       three nodes, 29192 29292 29392 (controllers one above)
#   kafka-sasl   one node,    29492 plaintext, 29494 SASL, 29495 TLS, 29496 SASL over TLS (controller 29493), with ACLs
kafka_names() { printf '%s\n' kafka kafka3 kafka-sasl; }

kafka_nodes() { if [ "$1" = kafka3 ]; then printf '%s\n' 1 2 3; else echo 1; fi; }

kafka_port() { # kafka_port NAME NODE: port of the plaintext listener; the controller's port is one above
	case $1 in
	kafka) echo $((ports + 92)) ;;
	kafka3) echo $((ports + 92 + 100 * $2)) ;;
	kafka-sasl) echo $((ports + 492)) ;;
	esac
}

kafka_address() { echo "$host:$(kafka_port "$1" "$2")"; }

kafka_get() {
	need java openjdk-17-jre-headless
	need openssl openssl
	get_jars kafka Kafka
	build_probe kafka
}

# The default options start a node in 3 s and leave CPU time to the tests. For measurements of speed use KAFKA_HEAP=1g.
kafka_java() {
	if [ -n "${KAFKA_HEAP:-}" ]; then
		java_command=(java "-Xms$KAFKA_HEAP" "-Xmx$KAFKA_HEAP")
	else
		java_command=(java -Xmx256m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC)
	fi
	java_command+=(-Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$lib/kafka/*")
}

kafka_properties() { # kafka_properties NAME NODE
	local port factor=1 insync=1 quorum n
	port=$(kafka_port "$1" "$2")
	quorum=$(for n in $(kafka_nodes "$1"); do echo "$n@$host:$(($(kafka_port "$1" "$n") + 1))"; done | paste -sd,)
	[ "$1" != kafka3 ] || { factor=3 && insync=2; }
	cat <<-P
		process.roles=broker,controller
		node.id=$2
		controller.quorum.voters=$quorum
		controller.listener.names=CONTROLLER
		log.dirs=$run/$1/$2.data

		default.replication.factor=$factor
		min.insync.replicas=$insync
		offsets.topic.replication.factor=$factor
		offsets.topic.num.partitions=4
		transaction.state.log.replication.factor=$factor
		transaction.state.log.min.isr=$insync
		transaction.state.log.num.partitions=4
		share.coordinator.state.topic.replication.factor=$factor
		share.coordinator.state.topic.min.isr=$insync
		share.coordinator.state.topic.num.partitions=1

		# Short intervals, so that tests of sessions, compaction, deleted records and expired transactions wait little.
		group.initial.rebalance.delay.ms=0
		group.min.session.timeout.ms=500
		log.retention.check.interval.ms=1000
		log.initial.task.delay.ms=1000
		log.cleaner.backoff.ms=500
		log.cleaner.dedupe.buffer.size=1048700
		transaction.abort.timed.out.transaction.cleanup.interval.ms=1000

		# The controller fences a killed node after 3 s, not 9. The node cannot rejoin before.
		broker.session.timeout.ms=3000
		broker.heartbeat.interval.ms=500
	P
	case $1 in
	kafka)
		# auto.create.topics.enable keeps its default, true: a client's metadata request can create a missing topic, and
		# tests need that. The other services have it off.
		echo "listeners=PLAINTEXT://$host:$port,CONTROLLER://$host:$((port + 1))"
		;;
	kafka3)
		echo offset.metadata.max.bytes=32767 # more than the default, for progress that needs it
		cat <<-P
			auto.create.topics.enable=false
			listeners=PLAINTEXT://$host:$port,CONTROLLER://$host:$((port + 1))
			# Leaders move only when a test moves them.
			auto.leader.rebalance.enable=false
		P
		;;
	kafka-sasl)
		cat <<-P
			auto.create.topics.enable=false
			listeners=PLAINTEXT://$host:$port,CONTROLLER://$host:$((port + 1)),SASL_PLAINTEXT://$host:$((port + 2)),SSL://$host:$((port + 3)),SASL_SSL://$host:$((port + 4))
			listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
			inter.broker.listener.name=PLAINTEXT
			sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
			ssl.keystore.type=PEM
			ssl.keystore.location=$run/$1/server.pem
			authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
			super.users=User:ANONYMOUS;User:alice;User:bob
		P
		local l m
		for l in sasl_plaintext sasl_ssl; do
			echo "listener.name.$l.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"alice-secret\" user_carol=\"carol-secret\";"
			for m in 256 512; do
				echo "listener.name.$l.scram-sha-$m.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
			done
		done
		;;
	esac
}

kafka_launch() { # kafka_launch NAME NODE
	local dir=$run/$1 java_command scram=()
	kafka_java
	kafka_properties "$1" "$2" >"$dir/$2.properties"
	if [ "$1" = kafka-sasl ]; then
		if [ ! -s "$dir/server.pem" ]; then
			certificates "$dir" || die "create certificates: openssl failed; its log: $dir/openssl.log"
			cat "$dir/server.key" "$dir/server.crt" "$dir/ca.pem" >"$dir/server.pem" # Kafka wants the key as PKCS#8, as openssl writes it
		fi
		scram=(--add-scram 'SCRAM-SHA-256=[name=bob,password=bob-secret]' --add-scram 'SCRAM-SHA-512=[name=bob,password=bob-secret]')
	fi
	if [ ! -s "$dir/$2.data/meta.properties" ]; then
		"${java_command[@]}" kafka.tools.StorageTool format -t keystrandAAAAAAAAAAAAA -c "$dir/$2.properties" \
			--ignore-formatted "${scram[@]}" >"$dir/$2.log" 2>&1 || fail_start "$1" "$2" "cannot format its storage"
	fi
	launch "$1" "$2" "${java_command[@]}" "-D$(marker "$1" "$2")" kafka.Kafka "$dir/$2.properties"
}

# A node answers if its metadata lists the node itself, and after "up" its whole cluster.
kafka_answers() { # kafka_answers NAME NODE
	local want=$2
	[ "$command" != up ] || want=$(kafka_nodes "$1" | paste -sd,)
	"$run/bin/kafkaprobe" ready -nodes "$want" "$(kafka_address "$1" "$2")"
}

kafka_check() {
	kafka_get
	if [ "$1" = kafka-sasl ]; then
		"$run/bin/kafkaprobe" secured -ca "$run/$1/ca.pem" "$host:$((ports + 494))" "$host:$((ports + 495))" "$host:$((ports + 496))"
	else
		"$run/bin/kafkaprobe" roundtrip "$(kafka_brokers "$1")"
	fi
}

kafka_brokers() {
	local n
	for n in $(kafka_nodes "$1"); do kafka_address "$1" "$n"; done | paste -sd,
}

kafka_env() {
	case $1 in
	kafka) echo "export KEYSTRAND_KAFKA=$(kafka_brokers "$1")" ;;
	kafka3) echo "export KEYSTRAND_KAFKA3=$(kafka_brokers "$1")" ;;
	kafka-sasl)
		echo "export KEYSTRAND_KAFKA_SASL=$host:$((ports + 494))"
		echo "export KEYSTRAND_KAFKA_TLS=$host:$((ports + 495))"
		echo "export KEYSTRAND_KAFKA_SASL_TLS=$host:$((ports + 496))"
		printf 'export KEYSTRAND_KAFKA_CA=%q\n' "$run/$1/ca.pem"
		;;
	esac
	printf 'export KEYSTRAND_KAFKA_CTL=%q\n' "$here/services"
}
