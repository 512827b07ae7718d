#!/bin/sh
# Creates the topic KAFKA_TOPIC at KAFKA_URL if it does not exist.
set -eu
PATH=$PATH:/opt/kafka/bin

# Timestamps are the broker's, so that a producer with a wrong clock cannot keep windows open or make records expire
# early. Records are kept for a week; until then a window can be counted again.
kafka-topics.sh --bootstrap-server "$KAFKA_URL" --create --if-not-exists --topic "$KAFKA_TOPIC" \
  --partitions 4 --replication-factor 1 \
  --config message.timestamp.type=LogAppendTime \
  --config retention.ms=604800000 \
  --config cleanup.policy=delete
