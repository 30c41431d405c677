"""What the console says, in English and in Chinese; names of queues, events, calls and codes are the same in both."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Language(StrEnum):
    """What the console speaks."""

    ENGLISH = "en"
    CHINESE = "zh"

    @property
    def tag(self) -> str:
        """The language as HTML names it."""
        return "zh-CN" if self is Language.CHINESE else "en"


def preferred(accept_language: str) -> Language:
    """Choose by what the browser asks for: the one it likes better, English where it likes neither."""
    best, liked = Language.ENGLISH, 0.0
    for wish in accept_language.split(",")[:20]:
        tag, _, quality = wish.partition(";")
        language = _BY_TAG.get(tag.strip().partition("-")[0].lower())
        weight = _weight(quality)
        if language is not None and weight > liked:
            best, liked = language, weight
    return best


def language_named(name: str) -> Language | None:
    """Find a language by its short name."""
    return _BY_TAG.get(name)


def _weight(quality: str) -> float:
    try:
        return float(quality.strip().removeprefix("q=") or 1)
    except ValueError:
        return 0.0


def say(key: str, language: Language, values: Mapping[str, object]) -> str:
    """Say it, with these values in their places."""
    english, chinese = WORDS[key]
    return (chinese if language is Language.CHINESE else english).format_map(values)


_BY_TAG: Final = {language.value: language for language in Language}

WORDS: Final[Mapping[str, tuple[str, str]]] = {
    # every page
    "product": ("payscore-worker", "payscore-worker"),
    "overview": ("Overview", "总览"),
    "trips": ("Trips", "行程"),
    "dead": ("Dead letters", "死信"),
    "outbox": ("Outbox", "发件箱"),
    "other_language": ("中文", "English"),
    "sign_out": ("Sign out", "退出"),
    "signed_in_as": ("Signed in as {name}", "当前用户：{name}"),
    "as_of": ("as of {time}", "截至 {time}"),
    "times_are": ("Times are Beijing time (UTC+8).", "时间均为北京时间（UTC+8）。"),
    "connection_lost": (
        "This page gets no answer any more. What you see is old.",
        "页面已收不到服务器的响应，所见数据已过时。",
    ),
    "none": ("none", "无"),
    "unknown": ("unknown", "未知"),
    "not_found": ("There is no such page.", "没有这个页面。"),
    "refused": ("Not accepted", "未被接受"),
    "refused_form": (
        "This form does not come from a page of this console, or its session is over. Load the page again.",
        "该表单并非来自本控制台的页面，或会话已失效。请重新加载页面。",
    ),
    "failed": ("That did not work", "操作未成功"),
    "went_wrong": (
        "The console has an error; the settlement goes on. Its log says more.",
        "控制台出错，结算不受影响。详情见其日志。",
    ),
    "database_away": (
        "The database does not answer in time. The settlement comes first; try again in a moment.",
        "数据库未能及时响应。结算优先，请稍后再试。",
    ),
    # signing in
    "sign_in": ("Sign in", "登录"),
    "your_name": ("Your name", "您的姓名"),
    "name_is_for": ("It stands in the record of what was done.", "会写入操作记录。"),
    "token": ("Token", "口令"),
    "token_wrong": ("That is not the token.", "口令不正确。"),
    "name_wrong": ("Say who you are, in at most 40 characters.", "请填写姓名，不超过 40 个字符。"),
    "too_many_guesses": ("Too many wrong tokens. Wait a minute.", "错误次数过多，请一分钟后再试。"),
    # is money stuck
    "verdict_0": ("Money is moving.", "资金正常流转。"),
    "verdict_1": ("Money is moving. Some of it needs a person.", "资金在流转，部分需要人工处理。"),
    "verdict_2": ("Whether money is moving is not known.", "无法判断资金是否正常流转。"),
    "verdict_3": ("Money is stuck.", "资金受阻。"),
    "all_is_well": (
        "Nothing waits longer than it should, and nothing waits for a person.",
        "没有超时等待，也没有需要人工处理的事项。",
    ),
    "finding_breaker": (
        "Calls to WeChat Pay are held back: {reason}. Messages wait; a probe finds out when it is over.",
        "微信支付的调用已暂缓：{reason}。消息在队列中等待，由探测请求判断何时恢复。",
    ),
    "finding_account_out": (
        (
            "Calls to WeChat Pay are held back for account {account}: {reason}. Its trips are noted, and taken up once "
            "a probe finds out that it is over; other accounts go on."
        ),
        "商户账号 {account} 的微信支付调用已暂缓：{reason}。该账号的行程先记录，探测恢复后继续处理；其他账号不受影响。",
    ),
    "finding_no_answer": (
        "WeChat Pay does not answer this console: {reason}. Whether it answers the workers is not known here.",
        "微信支付不应答本控制台：{reason}。是否应答 worker，此处无从得知。",
    ),
    "finding_broker": (
        "There is no link to RabbitMQ from here. What you see of the queues is old.",
        "此处与 RabbitMQ 断开，所见队列数据已过时。",
    ),
    "finding_deaf": (
        "No worker consumes any queue.",
        "没有任何 worker 在消费队列。",
    ),
    "finding_unseen": (
        "The queues were last seen {age} ago; they may be otherwise now.",
        "队列数据是 {age}前的，现状可能已不同。",
    ),
    "finding_queue_missing": (
        "The queue {queue} does not stand. Run payscore-worker topology.",
        "队列 {queue} 不存在。请运行 payscore-worker topology。",
    ),
    "finding_uncounted": (
        "RabbitMQ does not tell how full {count} of the queues are: the node that leads them does not answer.",
        "RabbitMQ 无法告知 {count} 个队列的情况：其领导节点没有应答。",
    ),
    "finding_no_consumer": (
        "Messages wait in {queue}, and nobody consumes it: no worker runs, or all hold back because WeChat Pay is out.",
        "{queue} 中有消息等待，但没有消费者：没有 worker 在运行，或因微信支付不可用而全部暂缓。",
    ),
    "finding_policy": (
        "{queues} lose messages: the policy {policy} sets {word}. payscore-worker topology plan says what helps.",
        "{queues} 会丢失消息：策略 {policy} 设置了 {word}。处理办法见 payscore-worker topology plan。",
    ),
    "finding_staged": (
        "A replay is under way, or was broken off: {queue} is not empty. The next replay or drop puts it right.",
        "有重放正在进行或曾被中断：{queue} 非空。下一次重放或丢弃会将其恢复。",
    ),
    "finding_dead": ("{count} dead letters wait for a person.", "{count} 条死信待人工处理。"),
    "finding_database": (
        "The database does not answer. No trip can move.",
        "数据库无响应，所有行程都无法推进。",
    ),
    "finding_due": (
        "Trips have been due for {age}, and no reconciler takes them up.",
        "有行程已到期 {age}，没有对账推进器处理。",
    ),
    "finding_outbox": (
        "{count} announcements are not published, the oldest for {age}. The ride service does not hear of them.",
        "{count} 条通告尚未发布，最早的已等待 {age}，出行服务对此一无所知。",
    ),
    "finding_problems": (
        "{count} trips have a problem and stand still, the oldest for {age}.",
        "{count} 个行程待人工处理，停滞最久的已有 {age}。",
    ),
    "finding_refunds": (
        "{count} refunds have a problem and stand still, the oldest for {age}.",
        "{count} 笔退款待人工处理，停滞最久的已有 {age}。",
    ),
    "finding_unanswered": (
        "{count} calls of the kind {call} are without an answer, the oldest for {age}.",
        "{count} 次 {call} 调用没有结果，最早的已有 {age}。",
    ),
    "finding_overdue": (
        "{count} trips are completed and long unpaid.",
        "{count} 个行程已完结，但长期未付款。",
    ),
    "finding_stale": (
        "{count} trips never got their other half.",
        "{count} 个行程只有开始或只有结束。",
    ),
    "look_there": ("Look", "查看"),
    # figures of the overview
    "owed_now": ("Owed now", "当前待收"),
    "owed_means": ("completed at WeChat Pay, not yet paid", "微信支付已受理完结，尚未到账"),
    "paid_day": ("Paid, trips of 24 h", "近 24 小时行程已收"),
    "paid_means": ("{paid} of {completed} fen completed", "已完结 {completed} 分，已收 {paid} 分"),
    "fen": ("{fen} fen", "{fen} 分"),
    "in_flight": ("Trips in flight", "进行中的行程"),
    "in_flight_means": ("{count} trips noted in 24 h", "近 24 小时记录 {count} 个行程"),
    "wechatpay": ("WeChat Pay", "微信支付"),
    "breaker_closed": ("answers", "正常"),
    "breaker_open": ("out", "不可用"),
    "breaker_means": ("as the worker here sees it", "以此处的 worker 所见为准"),
    "breaker_elsewhere": (
        "each worker sees for itself: payscore_breaker_open",
        "由各 worker 自行判断：payscore_breaker_open",
    ),
    "breaker_here": ("for this console: {reason}", "对本控制台而言：{reason}"),
    "breaker_reason_unreachable": ("it cannot be reached", "无法连接"),
    "breaker_reason_trouble": ("it says itself that it is in trouble", "对方返回 5xx"),
    "breaker_reason_unverified": ("its answers cannot be verified", "应答验签失败"),
    "breaker_reason_foreign": (
        "something between us and it answers in its place",
        "应答来自中间的代理或防火墙，不是对方",
    ),
    "breaker_reason_misconfigured": (
        "it refuses this merchant, whatever we ask: keys, clock, ids or permissions",
        "一概拒绝本商户：密钥、时钟、各 id 或权限有误",
    ),
    "breaker_reason_clock": ("our own clock is wrong: no call is made by it", "本机时钟有误，暂停一切调用"),
    "breaker_reason_throttled": ("it throttles us, and slowing down has not helped", "持续限流，降速无效"),
    "trips_by_state": ("Trips by state", "各状态行程"),
    "state": ("State", "状态"),
    "number": ("Number", "数量"),
    "oldest": ("Oldest", "最早"),
    "last_day": ("24 h", "24 小时"),
    "state_NOTED": ("facts noted, no order yet", "已记录，尚无订单"),
    "state_OPEN": ("order open, riding", "订单已开，行程中"),
    "state_COMPLETED": ("fare accepted, money not yet in", "金额已受理，待到账"),
    "state_PAID": ("money is in", "已到账"),
    "state_DECLINED": ("PayScore will not serve", "支付分无法受理"),
    "state_CANCELLED": ("will not be charged", "已取消，不收费"),
    "queues": ("Queues", "队列"),
    "queue": ("Queue", "队列"),
    "quarter": ("Last 15 min", "近 15 分钟"),
    "ready": ("Ready", "待处理"),
    "consumers": ("Consumers", "消费者"),
    "dead_short": ("Dead", "死信"),
    "no_look_yet": ("The queues were not looked at yet; a few seconds.", "尚未读取队列，请稍候几秒。"),
    "policies_unseen": (
        "Whether policies of others lose messages could not be looked at: {why}",
        "未能查看他人设置的策略是否会丢失消息：{why}",
    ),
    "ladder": ("Retry ladder", "重试阶梯"),
    # trips
    "search": ("Search", "搜索"),
    "search_for": (
        "trip_id, out_order_no, transaction_id or refund_id",
        "trip_id、out_order_no、transaction_id 或 refund_id",
    ),
    "nothing_found": ("No trip goes by {name}.", "没有找到 {name}。"),
    "any_state": ("any state", "全部状态"),
    "show": ("Which", "范围"),
    "show_all": ("all", "全部"),
    "show_unfinished": ("unfinished", "未结束"),
    "show_problem": ("with a problem", "待人工处理"),
    "show_stuck": ("stuck", "停滞"),
    "age": ("Age", "时长"),
    "any_age": ("any age", "不限"),
    "age_1h": ("over 1 hour", "超过 1 小时"),
    "age_1d": ("over 1 day", "超过 1 天"),
    "age_3d": ("over 3 days", "超过 3 天"),
    "age_30d": ("over 30 days", "超过 30 天"),
    "filter": ("Show", "筛选"),
    "trip": ("Trip", "行程"),
    "noted": ("Noted", "记录时间"),
    "owed": ("Owed", "应收"),
    "paid": ("Paid", "已收"),
    "attention": ("Attention", "关注"),
    "next_look": ("Next look", "下次检查"),
    "older_trips": ("Older trips", "更早的行程"),
    "newest_trips": ("Newest trips", "最新行程"),
    "no_trips": ("No trip is like that.", "没有符合条件的行程。"),
    "problem": ("problem", "待人工处理"),
    "stale": ("stale", "缺少另一半"),
    "overdue": ("overdue", "逾期未付"),
    # one trip
    "as_json": ("JSON", "JSON"),
    "order": ("Order", "订单"),
    "transaction": ("Transaction", "交易单号"),
    "account": ("Account", "商户账号"),
    "passenger": ("Passenger", "乘客"),
    "fare": ("Fare", "费用明细"),
    "story": ("What happened", "经过"),
    "doubt": ("In doubt", "存疑"),
    "archived_in": (
        "Archived in {archive}. The whole story is in that file.",
        "已归档至 {archive}，完整经过见该文件。",
    ),
    "kind_heard": ("ride service", "出行服务"),
    "kind_notified": ("WeChat Pay notified", "微信支付通知"),
    "kind_called": ("WeChat Pay call", "调用微信支付"),
    "kind_moved": ("state", "状态"),
    "kind_refund": ("refund", "退款"),
    "kind_troubled": ("attention", "关注"),
    "unreadable": ("unreadable", "无法读取"),
    "kind_announced": ("we announced", "发出通告"),
    "published": ("published after {age}", "{age}后发布"),
    "not_published": ("not yet published", "尚未发布"),
    "unroutable": ("{count} × nobody to give it to", "{count} 次无人接收"),
    "attempts": ("{count} attempts", "尝试 {count} 次"),
    "uncertain": (
        "the outcome of an attempt is unknown; its bytes stay binding",
        "有一次尝试结果不明，其字节仍具约束力",
    ),
    "took": ("in {age}", "用时 {age}"),
    "outcome_unreadable": ("of a newer release; this one cannot read it", "由更新的版本写入，本版本无法读取"),
    "outcome_prepared": ("stored, not yet answered", "已存，尚无应答"),
    "outcome_accepted": ("accepted", "已受理"),
    "outcome_refused": ("refused", "被拒绝"),
    "outcome_unknown": ("outcome unknown", "结果不明"),
    "certainty": (
        "{definite} of {begun} sends surely not accepted",
        "{begun} 次发送中 {definite} 次确定未被受理",
    ),
    "unanswered": ("Asked again", "再次询问"),
    "late_look": ("Looked at once more", "补查"),
    "accepted_amount": ("Accepted", "已认可金额"),
    "waived": ("Being waived", "正在免收"),
    "written_off": ("Written off", "已核销"),
    "paid_elsewhere": ("Paid elsewhere", "已用其他方式支付"),
    "lowering": ("Lowering", "下调进度"),
    "confirming": ("Confirmation", "乘客确认"),
    "second_order": ("Second order", "第二个订单"),
    "asking_now": ("Asked to collect", "请求扣款"),
    "fare_now": ("Fare after lowering", "下调后车费"),
    "fares_lowered": ("Fare lowered", "车费下调"),
    "fare_from": ("From", "原车费"),
    "fare_to": ("To", "新车费"),
    "kind_decided": ("a person", "人工"),
    # what a person decides
    "what_ends_it": ("What may be decided:", "可以作出的决定："),
    "decide": ("Decide", "作出决定"),
    "verb_accept": ("Accept what WeChat Pay shows", "认可微信支付所示金额"),
    "verb_write-off": ("Write the fare off", "核销车费"),
    "verb_waive": ("Waive the fare", "免收车费"),
    "verb_pay": ("Have it collected now", "立即扣款"),
    "verb_rebuild": ("Build the request anew", "重建请求"),
    "verb_decline": ("Give PayScore up", "放弃支付分"),
    "verb_cancel": ("Charge nothing", "不收费"),
    "verb_clear-problem": ("Take it up again", "继续推进"),
    "verb_means_accept": (
        "What WeChat Pay shows is taken for what was owed.",
        "以微信支付所示金额作为应收金额。",
    ),
    "verb_means_write-off": (
        "The money will not come: WeChat Pay has no order any more that could bring it.",
        "这笔钱收不到了：微信支付已没有可以收款的订单。",
    ),
    "verb_means_waive": (
        "WeChat Pay is told to collect no more. The passenger sees the reason.",
        "让微信支付不再收取这笔车费，乘客会看到原因。",
    ),
    "verb_means_pay": (
        "WeChat Pay is asked to collect now, and not only when it tries again. This never charges twice.",
        "请微信支付立即扣款，不等它下次重试。绝不会重复扣款。",
    ),
    "verb_means_rebuild": (
        "The request that was refused is dropped, and a new one is built and sent.",
        "丢弃被拒绝的请求，重建并发送新的请求。",
    ),
    "verb_means_decline": (
        "PayScore is given up for this trip. The ride service may ask for the fare another way.",
        "本行程放弃支付分，出行服务可以改用其他方式收费。",
    ),
    "verb_means_cancel": (
        "Nothing is owed for this trip. Where its order is cancelled, the passenger sees the reason.",
        "本行程不收费。撤销订单时，乘客会看到原因。",
    ),
    "verb_means_clear-problem": (
        "The cause is gone; the same is tried again. This never charges twice.",
        "原因已排除，按原样再试。绝不会重复扣款。",
    ),
    "will_happen": ("What will happen", "将会发生"),
    "outlook_paid": (
        "The trip is PAID: {fen} fen, which WeChat Pay has collected, are taken for what was owed.",
        "行程变为 PAID：微信支付已收的 {fen} 分作为应收金额。",
    ),
    "outlook_collected": (
        "The trip is COMPLETED with {fen} fen, which WeChat Pay collects.",
        "行程变为 COMPLETED，金额 {fen} 分，由微信支付收取。",
    ),
    "outlook_written_off": (
        "The trip ends CANCELLED: {fen} fen are written off.",
        "行程以 CANCELLED 结束：核销 {fen} 分。",
    ),
    "outlook_waived": (
        "WeChat Pay is told to collect no more; the trip then ends CANCELLED: {fen} fen are written off.",
        "让微信支付不再收取，行程随后以 CANCELLED 结束：核销 {fen} 分。",
    ),
    "outlook_asked": (
        "WeChat Pay is asked to collect now; the trip stays COMPLETED until the money is in.",
        "请微信支付立即扣款；到账之前行程仍为 COMPLETED。",
    ),
    "outlook_order_first": (
        "The order is cancelled at WeChat Pay first; the trip then ends {end}.",
        "先在微信支付撤销订单，行程随后以 {end} 结束。",
    ),
    "outlook_over": ("The trip ends {end}.", "行程以 {end} 结束。"),
    "outlook_rebuilt": (
        "What was refused is dropped; a new body is built and sent.",
        "丢弃被拒绝的请求，重建并发送新的请求体。",
    ),
    "outlook_cleared": ("The trip is taken up again where it stands.", "行程从现状继续推进。"),
    "outlook_refused": ("This cannot be done: {why}", "无法这样做：{why}"),
    "outlook_unasked": (
        "Nothing can be decided while WeChat Pay cannot be asked.",
        "无法询问微信支付时，不能作出决定。",
    ),
    "not_done": ("Nothing was done: {why}", "没有执行：{why}"),
    "decide_sure": ("Yes, do it", "确认执行"),
    "decide_why": ("Why (it is recorded with your name)", "原因（连同您的姓名写入操作记录）"),
    # authorisations
    "authorisations": ("Authorisations", "授权"),
    "authorisation": ("Authorisation", "授权号"),
    "authorisation_name": ("openid or authorization_code", "openid 或 authorization_code"),
    "authorisations_found": ("Found", "查找结果"),
    "authorisations_standing_still": ("That stand still", "停滞的授权"),
    "authorisations_under_way": ("Under way", "进行中"),
    "no_authorisations": ("None.", "没有。"),
    "authorisation_request": ("Requested as", "请求号"),
    "authorisation_client": ("Signs in", "签约入口"),
    "authorisation_given": ("Given what to sign with", "签约参数给出时间"),
    "authorisation_ends": ("To be ended", "待解除"),
    "authorisation_state_REQUESTED": ("the passenger is to authorise PayScore", "等待乘客授权支付分"),
    "authorisation_state_OPEN": ("the passenger has authorised PayScore", "乘客已授权支付分"),
    "authorisation_state_CLOSED": ("it is no longer authorised", "授权已解除"),
    "learnt_by_callback": ("by WeChat Pay's notification", "由微信支付通知得知"),
    "learnt_by_question": ("by asking WeChat Pay", "由询问微信支付得知"),
    # refunds
    "refund": ("Refund", "退款单"),
    "refunds": ("Refunds", "退款"),
    "refunds_standing_still": ("Refunds that stand still", "停滞的退款"),
    "amount": ("Amount", "金额"),
    "since": ("Since", "状态起始"),
    "refund_requested_at": ("Asked for", "申请时间"),
    "refund_reserved": ("Going back", "退款中（预留）"),
    "refunded": ("Refunded", "已退款"),
    "refund_left": ("Left to refund", "可退余额"),
    "refund_largest": ("{yuan} by one refund: it is of one debit", "单笔最多 {yuan}：一笔退款只针对一次扣款"),
    "refunds_before": ("Refunds before", "此前退款笔数"),
    "refund_payer_gets": ("the passenger gets {yuan}", "乘客实得 {yuan}"),
    "refund_state_REQUESTED": ("asked for; WeChat Pay has not taken it yet", "已申请，微信支付尚未受理"),
    "refund_state_ACCEPTED": ("WeChat Pay has taken it, the money is on its way", "微信支付已受理，资金退回中"),
    "refund_state_REFUNDED": ("the money went back", "已退回"),
    "refund_state_FAILED": ("nothing went back", "未退回任何金额"),
    "verb_refund": ("Refund", "退款"),
    "verb_means_refund": (
        "Money goes back to the passenger the way it came. The passenger sees the reason.",
        "资金按原路退回乘客，乘客会看到原因。",
    ),
    "refund_amount": ("How much, in yuan (such as 12.50)", "金额，单位元（如 12.50）"),
    "refund_why": (
        "Why (the passenger sees it, and it is recorded with your name)",
        "原因（乘客会看到，并连同您的姓名写入操作记录）",
    ),
    "refund_look": ("Show what will be sent", "查看将发送的内容"),
    "refund_amount_wrong": (
        "That is no amount: write yuan, with two decimals at most, such as 12.50.",
        "金额有误：请以元为单位填写，最多两位小数，如 12.50。",
    ),
    "refund_reason_wrong": (
        "Say why, on one line of at most 300 characters.",
        "请填写原因，一行，不超过 300 个字符。",
    ),
    "refund_nothing_left": ("There is nothing to refund.", "没有可退的金额。"),
    "refund_sent": ("What WeChat Pay will be sent", "将发送给微信支付的内容"),
    "refund_of_debit": ("{refund} fen, of a debit of {total} fen", "{refund} 分，所属扣款共 {total} 分"),
    "refund_reason_cut": ("cut to what WeChat Pay takes", "已截短至微信支付允许的长度"),
    "refund_outlook_asked": (
        "{fen} fen go back; WeChat Pay is asked for it at once.",
        "退回 {fen} 分，立即向微信支付申请。",
    ),
    "refund_outlook_asked_later": (
        "{fen} fen go back; WeChat Pay is asked for it after {at}: it wants a minute between refunds.",
        "退回 {fen} 分，{at} 之后向微信支付申请：两笔退款须间隔一分钟。",
    ),
    "refund_outlook_stands": (
        "It was asked for before, and is {state}: nothing more is asked for.",
        "此前已申请，现为 {state}：不会再次申请。",
    ),
    "refund_outlook_given_up": (
        "{fen} fen are reserved no longer; the refund ends FAILED, and nothing goes back by it any more.",
        "不再预留 {fen} 分；退款以 FAILED 告终，不会再通过它退回任何金额。",
    ),
    "refund_outlook_unasked": (
        "Nothing can be decided while WeChat Pay cannot be asked.",
        "无法询问微信支付，暂时什么都不能决定。",
    ),
    "refund_outlook_refused": ("This cannot be done: {why}", "无法这样做：{why}"),
    "refund_sure": ("Yes, refund {yuan}", "确认退款 {yuan}"),
    "refund_clear_means": (
        "The cause is gone: WeChat Pay is asked about the refund, or sent the same again. It never refunds twice.",
        "原因已排除：询问微信支付退款现状，或按原样再次发送。绝不会重复退款。",
    ),
    "verb_give-up": ("Give it up", "放弃退款"),
    "refund_give_up_means": (
        "WeChat Pay refuses it for good: the refund ends, and the ride service is told. WeChat Pay is asked first.",
        "微信支付始终拒绝这笔退款：在此了结，并告知网约车平台。会先询问微信支付。",
    ),
    "refund_give_up_why": (
        "Why? It is recorded, and the ride service is told",
        "原因（会写入记录，并告知网约车平台）",
    ),
    "refund_calm": ("This refund has no problem.", "该退款无需人工处理。"),
    # dead letters
    "no_dead": ("No dead letters. Nothing waits for a person.", "没有死信，无需人工处理。"),
    "letters_busy": (
        "Somebody has the dead letters of {queue} in hand. Try again in a moment.",
        "{queue} 的死信正在被处理，请稍后再试。",
    ),
    "not_judged": ("Not judged.", "未能判断。"),
    "letter_busy": (
        "Somebody has the dead letters of this queue in hand. Try again in a moment.",
        "该队列的死信正在被处理，请稍后再试。",
    ),
    "broker_away": ("RabbitMQ does not answer.", "RabbitMQ 无响应。"),
    "reason": ("Reason", "原因"),
    "newest": ("Newest", "最新"),
    "shown_of": ("the oldest {shown} of {count}", "最早的 {shown} 条，共 {count} 条"),
    "replay_one": ("Replay", "重放"),
    "replay_group": ("Replay group", "整组重放"),
    "replay_all": ("Replay all of {queue}", "重放 {queue} 的全部死信"),
    "replay_all_sure": (
        "Every dead letter of this queue goes back, unless its trip or WeChat Pay speaks against it.",
        "该队列的全部死信都会放回，除非其行程或微信支付的现状与之矛盾。",
    ),
    "drop": ("Drop", "丢弃"),
    "drop_sure": (
        "Dropped for good: the message is not kept. Say why.",
        "永久丢弃，消息不会保留。请说明原因。",
    ),
    "drop_why": ("Why", "原因"),
    "dropped": ("Dropped.", "已丢弃。"),
    "not_there": ("It is no longer there.", "它已经不在了。"),
    "letter": ("Dead letter", "死信"),
    "error": ("Error", "错误"),
    "first_failed": ("First failed", "首次失败"),
    "last_failed": ("Last failed", "最近失败"),
    "times_handled": ("Handled", "处理次数"),
    "message": ("Message", "消息"),
    "cut": (
        "The first {shown} of {size} bytes. payscore-worker dead show prints the whole.",
        "仅显示前 {shown} 字节，共 {size} 字节。payscore-worker dead show 可打印全部。",
    ),
    "our_word": ("Our trip", "我方行程"),
    "their_word": ("WeChat Pay now", "微信支付现状"),
    "if_replayed": ("If replayed", "若重放"),
    "would_go_back": ("goes back", "会放回"),
    "would_stay": ("stays", "会留下"),
    "asking": ("Asking the database and WeChat Pay …", "正在询问数据库与微信支付……"),
    "not_known": ("not known to us", "我方没有记录"),
    "replaying": ("Replay", "重放"),
    "job_running": ("under way", "进行中"),
    "job_done": ("done", "已完成"),
    "job_stopped": ("stopped", "已停止"),
    "job_failed": ("failed", "失败"),
    "stop": ("Stop", "停止"),
    "put_back": ("Put back", "已放回"),
    "left": ("Left where they are", "留下"),
    "looked_at": ("Looked at {done} of {of}", "已查看 {done} / {of}"),
    "left_because": ("Left, and why (the last {count})", "留下及原因（最近 {count} 条）"),
    "job_unknown": (
        "This console knows nothing of that replay: it ran in another, or before a restart. The record below knows.",
        "本控制台没有这次重放的信息：可能在另一个控制台中运行，或早于重启。请看操作记录。",
    ),
    "one_at_a_time": (
        "A replay is under way. One at a time: wait for it, or stop it.",
        "已有重放在进行。一次只能一个：请等待或先停止它。",
    ),
    "record": ("Who did what", "操作记录"),
    "no_record": ("Nobody has done anything yet.", "暂无操作。"),
    "when": ("When", "时间"),
    "who": ("Who", "操作人"),
    "what": ("What", "操作"),
    "target": ("Which", "对象"),
    "came_of_it": ("Outcome", "结果"),
    "action_replay": ("replay", "重放"),
    "action_drop": ("drop", "丢弃"),
    "action_trip accept": ("trip accept", "认可金额"),
    "action_trip waive": ("trip waive", "免收"),
    "action_trip pay": ("trip pay", "立即扣款"),
    "action_trip write-off": ("trip write-off", "核销"),
    "action_trip rebuild": ("trip rebuild", "重建请求"),
    "action_trip decline": ("trip decline", "放弃支付分"),
    "action_trip cancel": ("trip cancel", "不收费"),
    "action_trip clear-problem": ("trip clear-problem", "继续推进"),
    "action_refund request": ("refund request", "申请退款"),
    "action_refund clear-problem": ("refund clear-problem", "继续推进退款"),
    "action_refund give-up": ("refund give-up", "放弃退款"),
    "action_outbox replay": ("outbox replay", "重新通告"),
    "action_outcome_begun": ("begun", "已开始"),
    "action_outcome_done": ("done", "完成"),
    "action_outcome_stopped": ("stopped", "已停止"),
    "action_outcome_failed": ("failed", "失败"),
    "moved_refused": ("{moved} moved, {refused} left", "处理 {moved} 条，留下 {refused} 条"),
    # outbox
    "outbox_empty": ("The outbox is empty: nothing waits to be published.", "发件箱为空，没有等待发布的通告。"),
    "outbox_means": (
        "Announcements that are still to be published, the oldest first.",
        "尚未发布的通告，最早的在前。",
    ),
    "outbox_unrouted": (
        "Nobody listens to {type}: {count} announcements are kept until a queue is bound and `outbox replay` is run.",
        "没有队列接收 {type}：保留了 {count} 条通告，待绑定队列后用 `outbox replay` 重新发布。",
    ),
    "event": ("Event", "事件"),
    "waits_for": ("Waits for", "已等待"),
    "tries": ("Nobody there", "无人接收"),
    "and_more": ("… and more", "……以及更多"),
}
