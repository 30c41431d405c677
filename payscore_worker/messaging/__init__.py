"""RabbitMQ: topology, publishing, consuming, the retry policy, the relay, dead letters."""
