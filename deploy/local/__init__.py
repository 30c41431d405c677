"""RabbitMQ and PostgreSQL for a developer's machine: found, or else started privately; needs nothing but Python."""
