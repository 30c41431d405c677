"""What a merchant's client hands to one of WeChat Pay's pages."""

import json
from urllib.parse import urlencode

from payscore_worker.simulator import SimulatorKeys
from payscore_worker.simulator.signing import jump_signature


def signed(keys: SimulatorKeys, *, apiv2_key: str = "", called: str = "sign", **members: str) -> dict[str, str]:
    """An extraData under the merchant's APIv2 key, or under another."""
    said = {
        "mch_id": keys.mchid,
        "timestamp": "1772330400",
        "nonce_str": "zyx53Nkey8o4bHpxTQvd8m7e92nG5mG2",
        "sign_type": "HMAC-SHA256",
    } | members
    return said | {called: jump_signature(said, apiv2_key=apiv2_key or keys.apiv2_key, called=called)}


def as_json(business_type: str, extra_data: dict[str, str]) -> str:
    """What the mini program takes, and what H5 takes beside it."""
    return json.dumps(
        {"businessType": business_type, "extraData": extra_data, "queryString": urlencode(extra_data)},
        ensure_ascii=False,
    )


def as_query(business_type: str, extra_data: dict[str, str]) -> str:
    return urlencode({"businessType": business_type} | extra_data)
