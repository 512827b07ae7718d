#!/bin/sh
# Creates the topic where it is missing; one that exists is left as it is. KAFKA_URL and KAFKA_TOPIC say where.
set -eu
PATH=$PATH:/opt/kafka/bin

# By the broker's clock, so that no producer's wrong one can hold a window open or have records removed early; kept for a
# week, in which a window can be counted anew.
kafka-topics.sh --bootstrap-server "$KAFKA_URL" --create --if-not-exists --topic "$KAFKA_TOPIC" \
  --partitions 4 --replication-factor 1 \
  --config message.timestamp.type=LogAppendTime \
  --config retention.ms=604800000 \
  --config cleanup.policy=delete
