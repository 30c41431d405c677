"""Plays trips through RabbitMQ, worker, simulated WeChat Pay and webhook, and judges how they ended."""
