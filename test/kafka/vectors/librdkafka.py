"""Wrote librdkafka.bin: python librdkafka.py BROKER, then a copy of the topic's segment (confluent-kafka 2.16.1)."""

import sys

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

broker = {"bootstrap.servers": sys.argv[1]}
admin = AdminClient(broker)
admin.create_topics([NewTopic("librdkafka", 1, 1)])["librdkafka"].result()
for codec in ["none", "gzip", "snappy", "lz4", "zstd"]:
    producer = Producer({**broker, "compression.type": codec, "linger.ms": 100})
    for i in range(20):
        producer.produce("librdkafka", f"{codec} {i}")
    producer.flush()
