"""The dashboard of the queues: where messages wait, for how long, and who does not take them."""

from deploy.grafana.panels import Dashboard, Panel, Query, Row

CONSUMED = 'queue=~".*payscore[.](trip-started|trip-ended|trip-cancelled|order-paid|service-changed)"'

FIRST = Row(
    title="Is anything stuck? · 有没有卡住",
    height=5,
    panels=[
        Panel(
            title="Waiting · 等待",
            about="Messages ready in the queues that we consume.",
            kind="stat",
            queries=[Query(expr=f"sum(rabbitmq_detailed_queue_messages_ready{{{CONSUMED}}})")],
        ),
        Panel(
            title="Dead letters · 死信",
            about="Messages that wait for a person: payscore-worker dead list.",
            kind="stat",
            bad_from=1,
            queries=[Query(expr="sum(max by (queue) (payscore_queue_dead_messages))")],
        ),
        Panel(
            title="Never empty for · 持续积压",
            about="The queue that was not seen empty for longest; no message in it is older, as far as we watched.",
            kind="stat",
            unit="s",
            bad_from=600,
            queries=[Query(expr='max(payscore_queue_not_empty_seconds{queue!~".*payscore[.]retry[.].*"})')],
        ),
        Panel(
            title="Workers that consume · 消费中的 worker",
            about="Out of those that run, see below.",
            kind="stat",
            queries=[Query(expr="sum(payscore_consuming)")],
        ),
        Panel(
            title="Paused queues · 已暂停的队列",
            about="Left alone because WeChat Pay is out; their messages wait.",
            kind="stat",
            bad_from=1,
            queries=[Query(expr="sum(max by (queue) (payscore_queue_paused))")],
        ),
        Panel(
            title="Outbox · 发件箱",
            about="How long the oldest announcement waits.",
            kind="stat",
            unit="s",
            bad_from=300,
            queries=[Query(expr="max(payscore_outbox_oldest_age_seconds)")],
        ),
    ],
)

DEPTH = Row(
    title="Depth · 深度",
    panels=[
        Panel(
            title="Ready",
            about="Messages that wait, by queue.",
            queries=[
                Query(expr=f"sum by (queue) (rabbitmq_detailed_queue_messages_ready{{{CONSUMED}}})", legend="{{queue}}")
            ],
        ),
        Panel(
            title="Unacked",
            about="Messages that a worker has taken and not answered, by queue.",
            queries=[
                Query(
                    expr=f"sum by (queue) (rabbitmq_detailed_queue_messages_unacked{{{CONSUMED}}})", legend="{{queue}}"
                )
            ],
        ),
        Panel(
            title="Not empty for · 持续非空",
            about="An upper bound for the age of the oldest message, as far as the workers have watched.",
            unit="s",
            queries=[Query(expr="max by (queue) (payscore_queue_not_empty_seconds)", legend="{{queue}}")],
        ),
        Panel(
            title="Consumers · 消费者",
            about="Of each queue; as many as there are workers, unless it is paused.",
            queries=[
                Query(expr=f"sum by (queue) (rabbitmq_detailed_queue_consumers{{{CONSUMED}}})", legend="{{queue}}")
            ],
        ),
    ],
)

HANDLING = Row(
    title="Handling · 处理",
    panels=[
        Panel(
            title="Handled a second, by queue",
            about="Whatever the outcome.",
            unit="ops",
            queries=[
                Query(
                    expr="sum by (queue) (rate(payscore_message_handling_duration_seconds_count[$__rate_interval]))",
                    legend="{{queue}}",
                )
            ],
        ),
        Panel(
            title="Handled a second, by outcome",
            about="done, retried, dead-lettered, or to be redelivered.",
            unit="ops",
            stacked=True,
            queries=[
                Query(
                    expr="sum by (outcome) (rate(payscore_message_handling_duration_seconds_count[$__rate_interval]))",
                    legend="{{outcome}}",
                )
            ],
        ),
        Panel(
            title="Handling time, 95 of 100",
            about="From delivery to ack.",
            unit="s",
            queries=[
                Query(
                    expr="histogram_quantile(0.95, sum by (queue, le) "
                    "(rate(payscore_message_handling_duration_seconds_bucket[$__rate_interval])))",
                    legend="{{queue}}",
                )
            ],
        ),
        Panel(
            title="In hand · 处理中",
            about="Messages that each worker has taken and not yet answered; the prefetch of all queues bounds it.",
            queries=[Query(expr="sum by (instance) (payscore_messages_in_hand)", legend="{{instance}}")],
        ),
    ],
)

FAILING = Row(
    title="Failing · 失败",
    panels=[
        Panel(
            title="Retried a minute, by rung · 重试",
            about="The longer the rung, the longer these messages have failed.",
            stacked=True,
            queries=[
                Query(
                    expr="sum by (rung) (rate(payscore_message_retries_total[$__rate_interval])) * 60",
                    legend="{{rung}}",
                )
            ],
        ),
        Panel(
            title="On the rungs · 重试队列",
            about="Messages that wait for their next attempt.",
            stacked=True,
            queries=[
                Query(
                    expr='sum by (queue) (rabbitmq_detailed_queue_messages{queue=~".*payscore[.]retry[.].*"})',
                    legend="{{queue}}",
                )
            ],
        ),
        Panel(
            title="Dead letters, by queue · 死信",
            about="Messages that wait for a person.",
            bad_from=1,
            queries=[Query(expr="max by (queue) (payscore_queue_dead_messages)", legend="{{queue}}")],
        ),
        Panel(
            title="Dead letters, by reason · 死信原因",
            about="Put there since the workers started, by class of the error.",
            queries=[
                Query(
                    expr="sum by (queue, reason) (payscore_message_dead_letters_total)", legend="{{reason}} · {{queue}}"
                )
            ],
        ),
    ],
)

BROKER = Row(
    title="RabbitMQ",
    panels=[
        Panel(
            title="Messages a second",
            about="Global counters: they do not fall when a channel closes.",
            unit="ops",
            queries=[
                Query(expr=f"sum(rate(rabbitmq_global_messages_{what}_total[$__rate_interval]))", legend=legend)
                for what, legend in (
                    ("received", "published"),
                    ("confirmed", "confirmed"),
                    ("delivered", "delivered"),
                    ("acknowledged", "acked"),
                )
            ],
        ),
        Panel(
            title="What should not be, a minute",
            about="Redelivered: a worker did not answer. Unroutable: a binding is missing. "
            "Delivery limit: something kills workers.",
            queries=[
                Query(expr=f"sum(rate(rabbitmq_global_messages_{what}_total[$__rate_interval])) * 60", legend=legend)
                for what, legend in (
                    ("redelivered", "redelivered"),
                    ("unroutable_returned", "unroutable, returned"),
                    ("unroutable_dropped", "unroutable, dropped"),
                    ("dead_lettered_delivery_limit", "delivery limit reached"),
                )
            ],
        ),
        Panel(
            title="Unconfirmed · 未确认",
            about="Published and not yet confirmed; grows while RabbitMQ has an alarm.",
            queries=[Query(expr="sum(rabbitmq_channel_messages_unconfirmed)", legend="unconfirmed")],
        ),
        Panel(
            title="Alarms, connections",
            about="An alarm blocks everybody who publishes.",
            queries=[
                Query(expr="max(rabbitmq_alarms_memory_used_watermark)", legend="memory alarm"),
                Query(expr="max(rabbitmq_alarms_free_disk_space_watermark)", legend="disk alarm"),
                Query(expr="sum(rabbitmq_connections)", legend="connections"),
            ],
        ),
    ],
)

PROCESSES = Row(
    title="Processes · 进程",
    panels=[
        Panel(
            title="Event loop lag, 99 of 100",
            about="All that a process does waits this long for its turn.",
            unit="s",
            queries=[
                Query(
                    expr="histogram_quantile(0.99, sum by (job, instance, le) "
                    "(rate(payscore_event_loop_lag_seconds_bucket[$__rate_interval])))",
                    legend="{{job}} {{instance}}",
                )
            ],
        ),
        Panel(
            title="Processor",
            about="Of one processor; a worker has one event loop, so 1 is all it can use but for signing.",
            unit="percentunit",
            queries=[
                Query(
                    expr='rate(process_cpu_seconds_total{job=~"payscore-.*"}[$__rate_interval])',
                    legend="{{job}} {{instance}}",
                )
            ],
        ),
        Panel(
            title="Memory",
            about="Resident.",
            unit="bytes",
            queries=[
                Query(expr='process_resident_memory_bytes{job=~"payscore-.*"}', legend="{{job}} {{instance}}"),
            ],
        ),
        Panel(
            title="How old what we see is",
            about="Grows while database or RabbitMQ cannot be read; then the gauges above are old. "
            "Consumers: since a worker last confirmed that it consumes.",
            unit="s",
            queries=[
                Query(expr="min by (look) (payscore_look_age_seconds)", legend="{{look}}"),
                Query(
                    expr="max by (instance) (payscore_consuming_unconfirmed_seconds)", legend="consumers {{instance}}"
                ),
            ],
        ),
    ],
)

QUEUES = Dashboard(
    uid="payscore-queues",
    title="PayScore · queues",
    about="Where messages wait, for how long, and why.",
    rows=[FIRST, DEPTH, HANDLING, FAILING, BROKER, PROCESSES],
)
