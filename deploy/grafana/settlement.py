"""The dashboard of the settlement: where trips and their money are, and what WeChat Pay does about them."""

from deploy.grafana.panels import Dashboard, Panel, Query, Row

CALL = "payscore_wechatpay_call_duration_seconds"

FIRST = Row(
    title="Is money stuck? · 钱有没有卡住",
    height=5,
    panels=[
        Panel(
            title="With a problem · 待人工处理",
            about="Trips that stand still until a person has looked: payscore-worker trip list --problem.",
            kind="stat",
            bad_from=1,
            queries=[Query(expr="max(payscore_trips_with_problem)")],
        ),
        Panel(
            title="WeChat Pay is out · 熔断",
            about="Workers that hold calls back.",
            kind="stat",
            bad_from=1,
            queries=[Query(expr="sum(payscore_breaker_open)")],
        ),
        Panel(
            title="Calls without an answer · 结果不明",
            about="How long the oldest create or complete may be on its way.",
            kind="stat",
            unit="s",
            bad_from=120,
            queries=[Query(expr="max(payscore_calls_unanswered_oldest_age_seconds)")],
        ),
        Panel(
            title="Outstanding · 待收",
            about="Money that WeChat Pay accepted to collect and has not.",
            kind="stat",
            unit="currencyCNY",
            queries=[Query(expr="max(payscore_outstanding_fen) / 100")],
        ),
        Panel(
            title="Books off by · 账目差额",
            about="Trips noted less trips accounted for. Anything but 0 is a loss.",
            kind="stat",
            bad_from=1,
            queries=[Query(expr="max(abs(payscore_books_imbalance_trips))")],
        ),
        Panel(
            title="Due and not taken up · 到期未处理",
            about="The reconciler's backlog.",
            kind="stat",
            unit="s",
            bad_from=300,
            queries=[Query(expr="max(payscore_trips_due_lag_seconds)")],
        ),
    ],
)

FUNNEL = Row(
    title="Trips · 行程",
    panels=[
        Panel(
            title="Reached a minute, by state · 漏斗",
            about="The funnel: what is noted is opened, completed, paid.",
            queries=[
                Query(
                    expr="sum by (state) (rate(payscore_trips_reached_total[$__rate_interval])) * 60",
                    legend="{{state}}",
                )
            ],
        ),
        Panel(
            title="Now, by state · 各状态行程数",
            about="The unfinished ones are counted every few seconds, those that are over every minute or less often.",
            queries=[Query(expr="max by (state) (payscore_trips)", legend="{{state}}")],
        ),
        Panel(
            title="Oldest, by state · 最老行程",
            about="How long the oldest trip is in each state.",
            unit="s",
            queries=[
                Query(expr="max by (state) (payscore_trips_oldest_age_seconds)", legend="{{state}}"),
                Query(expr="max(payscore_trips_with_problem_oldest_age_seconds)", legend="with a problem"),
            ],
        ),
        Panel(
            title="Stopped and late · 停住与超期",
            about="With a problem; the other half missing for too long (stale); the money (overdue).",
            queries=[
                Query(expr="max(payscore_trips_with_problem)", legend="with a problem"),
                Query(expr="max by (what) (payscore_trips_late)", legend="{{what}}"),
                Query(expr="sum by (code) (increase(payscore_trips_stopped_total[1h]))", legend="in an hour: {{code}}"),
            ],
        ),
    ],
)

MONEY = Row(
    title="Money · 资金",
    panels=[
        Panel(
            title="Fen a minute · 每分钟金额（分）",
            about="Completed: accepted to be collected. Paid: said to be in.",
            queries=[
                Query(expr="sum(rate(payscore_completed_fen_total[$__rate_interval])) * 60", legend="completed"),
                Query(expr="sum(rate(payscore_paid_fen_total[$__rate_interval])) * 60", legend="paid"),
            ],
        ),
        Panel(
            title="Outstanding · 待收",
            about="Money of completed trips that is not yet in.",
            unit="currencyCNY",
            queries=[Query(expr="max(payscore_outstanding_fen) / 100", legend="outstanding")],
        ),
        Panel(
            title="How we learnt of payments · 回调与查询",
            about="By callback, or by asking because none had come. Many by asking: callbacks do not arrive.",
            stacked=True,
            queries=[
                Query(expr="sum by (by) (rate(payscore_trips_paid_total[$__rate_interval])) * 60", legend="by {{by}}")
            ],
        ),
        Panel(
            title="The books · 账目",
            about="Noted is the sum of the others.",
            queries=[Query(expr="max by (entry) (payscore_books_trips)", legend="{{entry}}")],
        ),
    ],
)

WECHATPAY = Row(
    title="WeChat Pay · 微信支付",
    panels=[
        Panel(
            title="Calls a second",
            about="By what is called, quick tries included.",
            unit="ops",
            queries=[
                Query(expr="sum by (call) (rate(payscore_wechatpay_sends_total[$__rate_interval]))", legend="{{call}}")
            ],
        ),
        Panel(
            title="Latency, 95 of 100 · 耗时",
            about="A call with its quick tries.",
            unit="s",
            queries=[
                Query(
                    expr=f"histogram_quantile(0.95, sum by (call, le) (rate({CALL}_bucket[$__rate_interval])))",
                    legend="{{call}}",
                )
            ],
        ),
        Panel(
            title="Not accepted, a minute · 未成功",
            about="Unavailable: not processed. Unknown: perhaps processed. The rest: why it was refused, and the code.",
            stacked=True,
            queries=[
                Query(
                    expr="sum by (call, outcome, code) "
                    f'(rate({CALL}_count{{outcome!="accepted"}}[$__rate_interval])) * 60',
                    legend="{{call}} {{outcome}} {{code}}",
                )
            ],
        ),
        Panel(
            title="Breaker and pace · 熔断与限速",
            about="Workers that hold calls back, by reason; the gap in seconds that throttling forces on a process.",
            queries=[
                Query(expr="sum by (reason) (payscore_breaker_open)", legend="out: {{reason}}"),
                Query(
                    expr="sum by (reason) (increase(payscore_breaker_opened_total[1h]))",
                    legend="opened in an hour: {{reason}}",
                ),
                Query(expr="max(payscore_wechatpay_pace_gap_seconds)", legend="gap between calls, s"),
            ],
        ),
    ],
)

NOTIFICATIONS = Row(
    title="Notifications · 回调",
    panels=[
        Panel(
            title="Notifications a minute, by verdict",
            about="Published, or the error for which it was refused.",
            stacked=True,
            queries=[
                Query(
                    expr="sum by (verdict) (rate(payscore_notifications_total[$__rate_interval])) * 60",
                    legend="{{verdict}}",
                )
            ],
        ),
        Panel(
            title="Notifications, by type",
            about="Those that were published.",
            stacked=True,
            queries=[
                Query(
                    expr="sum by (type) "
                    '(rate(payscore_notifications_total{verdict="published"}[$__rate_interval])) * 60',
                    legend="{{type}}",
                )
            ],
        ),
        Panel(
            title="Answered within, 99 of 100",
            about="WeChat Pay gives up after 5 seconds.",
            unit="s",
            bad_from=4.5,
            queries=[
                Query(
                    expr="histogram_quantile(0.99, sum by (le) "
                    "(rate(payscore_notification_duration_seconds_bucket[$__rate_interval])))",
                    legend="webhook",
                )
            ],
        ),
    ],
)

ANNOUNCEMENTS = Row(
    title="Announcements · 通告",
    panels=[
        Panel(
            title="Written a minute, by type · 产生",
            about="To the outbox, with the change that they tell of.",
            stacked=True,
            queries=[
                Query(
                    expr="sum by (type) (rate(payscore_announcements_total[$__rate_interval])) * 60", legend="{{type}}"
                )
            ],
        ),
        Panel(
            title="Published a minute, by type · 发布",
            about="Confirmed by RabbitMQ.",
            stacked=True,
            queries=[
                Query(
                    expr="sum by (type) (rate(payscore_announcements_published_total[$__rate_interval])) * 60",
                    legend="{{type}}",
                )
            ],
        ),
        Panel(
            title="Outbox · 发件箱",
            about="Announcements that wait to be published, and for how long the oldest does.",
            queries=[
                Query(expr="max(payscore_outbox_rows)", legend="rows"),
                Query(expr="max(payscore_outbox_oldest_age_seconds)", legend="oldest, s"),
            ],
        ),
        Panel(
            title="Nobody listens · 无人接收",
            about="Announcements that no queue takes: kept until `outbox replay` has them told again.",
            stacked=True,
            queries=[Query(expr="max by (type) (payscore_outbox_unrouted_rows)", legend="{{type}}")],
        ),
    ],
)

DOUBT = Row(
    title="Events, doubt and keys · 事件、疑点与密钥",
    panels=[
        Panel(
            title="Facts noted a minute · 事实",
            about="Those that said something new.",
            queries=[
                Query(
                    expr="sum by (type) (rate(payscore_events_noted_total[$__rate_interval])) * 60", legend="{{type}}"
                )
            ],
        ),
        Panel(
            title="Calls without an answer · 结果不明",
            about="Trips with a create or complete that may be on its way.",
            queries=[Query(expr="max by (call) (payscore_calls_unanswered)", legend="{{call}}")],
        ),
        Panel(
            title="Taken up by the reconciler, a minute",
            about="done, waits (out of reach), stuck (refused), error (a bug), unreadable (of a newer release); "
            "and callbacks about other apps or services of ours, which move nothing.",
            queries=[
                Query(
                    expr="sum by (outcome) (rate(payscore_trips_taken_up_total[$__rate_interval])) * 60",
                    legend="{{outcome}}",
                ),
                Query(
                    expr="sum(rate(payscore_rows_unreadable_total[$__rate_interval])) * 60",
                    legend="unreadable",
                ),
                Query(
                    expr="sum(rate(payscore_notifications_not_ours_total[$__rate_interval])) * 60",
                    legend="callbacks about others",
                ),
            ],
        ),
        Panel(
            title="Platform certificate expires in · 平台证书剩余时间",
            about="Empty where WeChat Pay's public key is used instead.",
            unit="s",
            queries=[
                Query(
                    expr="min(payscore_platform_certificate_expiry_timestamp_seconds) - time()",
                    legend="first to expire",
                )
            ],
        ),
        Panel(
            title="Platform certificates passed over, an hour · 被略过的平台证书",
            about="Entries of WeChat Pay's list that cannot be read; the others count.",
            queries=[
                Query(expr="sum(increase(payscore_platform_certificates_unread_total[1h]))", legend="passed over"),
            ],
        ),
    ],
)

SETTLEMENT = Dashboard(
    uid="payscore-settlement",
    title="PayScore · settlement",
    about="Where trips and their money are, and what WeChat Pay does about them.",
    rows=[FIRST, FUNNEL, MONEY, WECHATPAY, NOTIFICATIONS, ANNOUNCEMENTS, DOUBT],
)
