"""Published and derived test vectors (reference payscore-api E.9). The key is a public test key: never a real one."""

from typing import Final

# --- V1: key, certificate, a signature of `source` ---

MERCHANT_KEY: Final = """\
-----BEGIN TESTING KEY-----
MIIEvgIBADANBgkqhkiG9w0BAQEFAASCBKgwggSkAgEAAoIBAQDZUJN33V+dSfvd
fL0Mu+39XrZNXFFMQSy1V15FpncHeV47SmV0TzTqZc7hHB0ddqAdDi8Z5k3TKqb7
6sOwYr5TcAfuR6PIPaleyE0/0KrljBum2Isa2Nyq7Dgc3ElBQ6YN4l/a+DpvKaz1
FSKmKrhLNskqokWVSlu4g8OlKlbPXQ9ibII14MZRQrrkTmHYHzfi7GXXM0thAKuR
0HNvyhTHBh4/lrYM3GaMvmWwkwvsMavnOex6+eioZHBOb1/EIZ/LzC6zuHArPpyW
3daGaZ1rtQB1vVzTyERAVVFsXXgBHvfFud3w3ShsJYk8JvMwK2RpJ5/gV0QSARcm
LDRUAlPzAgMBAAECggEBAMc7rDeUaXiWv6bMGbZ3BTXpg1FhdddnWUnYE8HfX/km
OFI7XtBHXcgYFpcjYz4D5787pcsk7ezPidAj58zqenuclmjKnUmT3pfbI5eCA2v4
C9HnbYDrmUPK1ZcADtka4D6ScDccpNYNa1g2TFHzkIrEa6H+q7S3O2fqxY/DRVtN
0JIXalBb8daaqL5QVzSmM2BMVnHy+YITJWIkP2a3pKs9C0W65JGDsnG0wVrHinHF
+cnhFZIbaPEI//DAFMc9NkrWOKVRTEgcCUxCFaHOZVNxDWZD7A2ZfJB2rK6eg//y
gEiFDR2h6mTaDowMB4YF2n2dsIO4/dCG8vPHI20jn4ECgYEA/ZGu6lEMlO0XZnam
AZGtiNgLcCfM/C2ZERZE7QTRPZH1WdK92Al9ndldsswFw4baJrJLCmghjF/iG4zi
hhBvLnOLksnZUfjdumxoHDWXo2QBWbI5QsWIE7AuTiWgWj1I7X4fCXSQf6i+M/y2
6TogQ7d0ANpZFyOkTNMn/tiJvLECgYEA22XqlamG/yfAGWery5KNH2DGlTIyd6xJ
WtJ9j3jU99lZ0bCQ5xhiBbU9ImxCi3zgTsoqLWgA/p00HhNFNoUcTl9ofc0G3zwT
D1y0ZzcnVKxGJdZ6ohW52V0hJStAigtjYAsUgjm7//FH7PiQDBDP1Wa6xSRkDQU/
aSbQxvEE8+MCgYEA3bb8krW7opyM0XL9RHH0oqsFlVO30Oit5lrqebS0oHl3Zsr2
ZGgoBlWBsEzk3UqUhTFwm/DhJLTSJ/TQPRkxnhQ5/mewNhS9C7yua7wQkzVmWN+V
YeUGTvDGDF6qDz12/vJAgSwDDRym8x4NcXD5tTw7mmNRcwIfL22SkysThIECgYAV
BgccoEoXWS/HP2/u6fQr9ZIR6eV8Ij5FPbZacTG3LlS1Cz5XZra95UgebFFUHHtC
EY1JHJY7z8SWvTH8r3Su7eWNaIAoFBGffzqqSVazfm6aYZsOvRY6BfqPHT3p/H1h
Tq6AbBffxrcltgvXnCTORjHPglU0CjSxVs7awW3AEQKBgB5WtaC8VLROM7rkfVIq
+RXqE5vtJfa3e3N7W3RqxKp4zHFAPfr82FK5CX2bppEaxY7SEZVvVInKDc5gKdG/
jWNRBmvvftZhY59PILHO2X5vO4FXh7suEjy6VIh0gsnK36mmRboYIBGsNuDHjXLe
BDa+8mDLkWu5nHEhOxy2JJZl
-----END TESTING KEY-----
""".replace("TESTING KEY", "PRIVATE KEY")

CERTIFICATE: Final = """\
-----BEGIN CERTIFICATE-----
MIIDVzCCAj+gAwIBAgIJANfOWdH1ItcBMA0GCSqGSIb3DQEBCwUAMEIxCzAJBgNV
BAYTAlhYMRUwEwYDVQQHDAxEZWZhdWx0IENpdHkxHDAaBgNVBAoME0RlZmF1bHQg
Q29tcGFueSBMdGQwHhcNMjEwNDI3MDg1NTIzWhcNMzEwNDI1MDg1NTIzWjBCMQsw
CQYDVQQGEwJYWDEVMBMGA1UEBwwMRGVmYXVsdCBDaXR5MRwwGgYDVQQKDBNEZWZh
dWx0IENvbXBhbnkgTHRkMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA
2VCTd91fnUn73Xy9DLvt/V62TVxRTEEstVdeRaZ3B3leO0pldE806mXO4RwdHXag
HQ4vGeZN0yqm++rDsGK+U3AH7kejyD2pXshNP9Cq5YwbptiLGtjcquw4HNxJQUOm
DeJf2vg6byms9RUipiq4SzbJKqJFlUpbuIPDpSpWz10PYmyCNeDGUUK65E5h2B83
4uxl1zNLYQCrkdBzb8oUxwYeP5a2DNxmjL5lsJML7DGr5znsevnoqGRwTm9fxCGf
y8wus7hwKz6clt3Whmmda7UAdb1c08hEQFVRbF14AR73xbnd8N0obCWJPCbzMCtk
aSef4FdEEgEXJiw0VAJT8wIDAQABo1AwTjAdBgNVHQ4EFgQUT1c7nd/SUO76HSoZ
umNUJv1R5PwwHwYDVR0jBBgwFoAUT1c7nd/SUO76HSoZumNUJv1R5PwwDAYDVR0T
BAUwAwEB/zANBgkqhkiG9w0BAQsFAAOCAQEAfTjxKRQMzNB/U6ZoCUS+BSNfa2Oh
0plMN6ZuzwiVVZwg1jywvv5yv04koS7Pd4i9E4gt9ZBUQXlpq+A3oOCEEHNRR6b2
kyazGRM7s0OP5X21WrbpSmKmU6K7hkfx30yYs08LVs/Q8DIhvaj1FCFeJzUCzYn/
fHMq4tsbKO0dKAeydPM/nrUZBmaYQVKMVOORGLFjFKVO7JV6Kq/R86ouhjEPgJOe
2xulNBUcjicqtZlBdEh/PWCYP2SpGVDclKm8jeo175T3EVAkdKzzmfpxtMmnMlmq
cTJOU9TxuGvNASMtjj7pYIerTx+xgZDXEVBWFW9PjJ0TV06tCRsgSHItgg==
-----END CERTIFICATE-----
"""

CERTIFICATE_SERIAL: Final = "D7CE59D1F522D701"
SOURCE_SIGNATURE: Final = (
    "BKyAfU4iMCuvXMXS0Wzam3V/cnxZ+JaqigPM5OhljS2iOT95OO6Fsuml2JkFANJU9K6q9bLlDhPXuoVz+pp4hAm6pHU4ld815U4j"
    "sKu1RkyaII+1CYBUYC8TK0XtJ8FwUXXz8vZHh58rrAVN1XwNyvD1vfpxrMT4SL536GLwvpUHlCqIMzoZUguLli/K8V29QiOhuH6I"
    "EqLNJn8e9b3nwNcQ7be3CzYGpDAKBfDGPCqCv8Rw5zndhlffk2FEA70G4hvMwe51qMN/RAJbknXG23bSlObuTCN7Ndj1aJGH6/L+"
    "hdwfLpUtJm4QYVazzW7DFD27EpSQEqA8bX9+8m1rLg=="
)

# --- V2: requests ---

REQUEST_TIMESTAMP: Final = 1554208460
REQUEST_NONCE: Final = "593BEC0C930BF1AFEB40B4A08C8FB242"

CERTIFICATES_TARGET: Final = "/v3/certificates"
CERTIFICATES_SIGNATURE: Final = (
    "RjVFHMcrr9NsM4SiNmpFx6QPR99WztxatBshmr/6f7pXnt2YSPAhmNrEEAjWgpOcf5Zxbwl2qdPACOsEOeGrnLD81nVK3ucJq50i"
    "D0FAyF11knd1C9ic7zV9Jg3zao0+Wx3yAI6jXx6NLBEfNNspCazrQ+IHsUi04tubSBsT+4LHT9j0rL9axFBl7jVYe7uZ1ZQzap8E"
    "okLHDQbYw6qPEOs85+a2rnudh3TCPe81oUfe0zPqwEE6sWxxeSCYx+1mbURsOAN4Z8/uKgOIZxbDAkqYWFb7VOaHFeejC1rsxUc7"
    "wkw0zQWxae1giswROXii1DorwdJ3CGlPchx0PyDjkQ=="
)

QUERY_TARGET: Final = (
    "/v3/payscore/serviceorder?service_id=2002000000000558128851361561536&appid=wxd678efh567hg6787&out_or"
    "der_no=1234323JKHDFE1243252"
)
QUERY_SIGNATURE: Final = (
    "hTQEgpTcwtpGOQK6iC7yWs24fIbymZLNQn6+WTvqUxhHlgBS5v4df1pc5j1CxUjRX85fpsrtqVZ4z/7/2nDm2myndCZZI57Az9l2"
    "CA/oh128s3+sg6vw03xPkIPWgRyGy6Zv8QWjUR4Zh3WwBYWMb5JL2GYw1MrXGdtZsWqJPK2iDNgbEURaPhUgH2/9amJE/z00CpSw"
    "99HKfsmRAyIFTzf7U4TD88eYGvVhqEJ2Eezj8XQEGG84nbseBMtlLSUhoKahPxkH+wQ7efWrSWbho8796Bkyj90b7i1pQC+MntJo"
    "qIEtoZagT3Hq5M9egKPeZm68DE16wHoCXVGrnP+3ZQ=="
)

CANCEL_TARGET: Final = "/v3/payscore/serviceorder/1234323JKHDFE1243252/cancel"
CANCEL_BODY: Final = (
    '{"appid":"wxd678efh567hg6787","service_id":"2002000000000558128851361561536","reason":"用户投诉"}'.encode()
)
CANCEL_SIGNATURE: Final = (
    "R6UB+CnzThv1hYMcw1fyXxFK2esm+9Rhh2stL0OH6+uGhxAjTddCFN1BXhTnQ0o2YppY5NIVmZqXTFWns+4TfHbVzRbSzmcYpqwS"
    "ctVBEJRtbgbkikILwCwBI60V+xTwtyvIEI4lxG53A7+N5pM6fTdwgrUzWkstwxeCXw3PYoa5Ebo9jv9Y0r5B+q8SQvtQUml1Wve7"
    "YR8TPvNC+4HhXEIFyoP1X0HLBf0nzYkye07hQpb0KD6uUSNcdnKXA66dcEBbcVZJTLacS8ahQRW+2WlpD2pQbd+fB+3bvQx/D8vk"
    "sVrR2CYCu3/EhmYcQ83eujF/YMMSYMPIfQMjpEI12Q=="
)

# --- V3, V6, V7: notifications; the headers but the signature are the same ---

NOTIFICATION_TIMESTAMP: Final = 1624523846
NOTIFICATION_NONCE: Final = "EcZ9Cmy4Xyx1i6RlJQzLcCyEqDa26NBz"

OPEN_SERVICE_KEY: Final = b"testMchAPIv3Key0"
"""16 bytes, in this vector only."""
OPEN_SERVICE_SIGNATURE: Final = (
    "tJHIiIS9eB2hAYstmAmbbD3ZE5LiIm/Ug5tuL4fC0YOFRWIHV39UFIZXC0e9Wl6lBu6sKvkqDkzpqzBsVHyXFlbYZTOQrVdG4b6L"
    "fTnK4mikv9++ixJMd3vTf2yCqvBkh98zs3Ds5zsYQakzbcwhmw4fMJs4nPLws28H0UW9FjDR//rxELLwXvV1VEA1IBLX70xptjL8"
    "hrfUjEE8kkry6yNJTHZRU8CAc7qHli2Ng1V1qb9ARbK8A3ThmFmPQvRGrapI/jS2laKKgYUmfdEdkNO6B2Cke5e8VTxY406ArAmQ"
    "90GAihDwIcb16TQMnzCMBoutnwZKNiKRACrFmtxw2Q=="
)
OPEN_SERVICE_BODY: Final = (
    '{"id":"3119dfba-e649-5eec-ab1e-3412bc4d2e17","create_time":"2021-06-24T16:37:26+08:00","resource_typ'
    'e":"encrypt-resource","event_type":"PAYSCORE.USER_OPEN_SERVICE","summary":"签约成功","resource":{"or'
    'iginal_type":"payscore","algorithm":"AEAD_AES_256_GCM","ciphertext":"YDS3lKPaC4Y52Gf3uhft5qUBlIa8b42'
    "8AWTtTauHQfQrRw+X1WpiuHIDy0vo1Vd6VEq67aVyqPdDYMkRVSDaZL3iZttevRMOoPKMifozg6XPWjIZumks/GpT48lI4Nizyea"
    "qLBokNebthah3o1H76qSlO9NkDjp9bzmKLEYYH9TEklFUpsvPqOTOcgSLgh21YJXYR7dEBXFgRLiNIKRgO5JdXh1hccRUAlyVWxE"
    '54PXpnQ==","associated_data":"payscore","nonce":"Kj7QIyUiYx1q"}}'
).encode()
OPEN_SERVICE_RESOURCE: Final = (
    b'{"mchid":"1234567890","appid":"054aa7d7a2a54ab5898df65bd96f001c","create_time":"2020-06-30T12:12:00+'
    b'08:00","out_contract_code":"21640bdbd08e473e828f3206a2741c6e"}'
)

APIV3_KEY: Final = b"0123456789abcdef0123456789abcdef"
USER_PAID_SIGNATURE: Final = (
    "DN0sWg0dzfDnotq+s86vHD0781I+n3ISkDYw+TKwFof9sngwyZgLqDlrA4D3dKGz6LAqlvcT6Hed4NLZZEEalZVRLHAHCxIt7NKS"
    "Ep9lbLGbwHb9BKK5/2CkKverSQp2PM/7tUlVBwvUE2oyF7BhiWPhkFSzQYKp8fkEQoIQu9kw7cbiPhK6qVgUZ3wijJrJ4b2uK57q"
    "yYEzyNghmRxvdRC/yxCpvWSloAeb1cxNTtUKsfgXJ7EUqu8rsfF0oL9tfWUnGDOEC68eDnkryRt8nC7bmO2bJYeMAJHG2E/cjlgl"
    "mvilhwcTIx7oxM3uwgOMlfIGvBwZ6r/FBD8ZsNpopw=="
)
USER_PAID_BODY: Final = (
    b'{"id":"EV-TEST-0001","create_time":"2021-06-24T16:37:26+08:00","resource_type":"encrypt-resource","e'
    b'vent_type":"PAYSCORE.USER_PAID","summary":"paid","resource":{"original_type":"payscore","algorithm":'
    b'"AEAD_AES_256_GCM","ciphertext":"ShQSJCn+sWc8TUZjqejPOH1i7fCvX/4DlfZnQ2f6rhSNcTNlAeTl1SpE04ogXLhjjfN'
    b"uBhDHbG46qauyYb29TfD46GXS+r16WidS5JF3J5zuhZR6AufUh4YqD0HqZrfIfIfAUlT4+ZpbB1y7zOR6c5wa9h6S5BEljn45F0t"
    b"Sfvo3UwQguej+K4Zh1ukV7S/E9kjA9CGOncslg6st7qy7PcVIlsygW/WJqTzOIKvH02x3khY1ZquKIGqVrUi7gEKq8iNWLlyscT3"
    b"Ifu7h8KN6oBhtPH3xLWy69U1ER37Q3gFUR5j5br4dMr2fqL9z7MttYRMiSgC2xrVpijLJm+CqTEi9qd4c79AiNYMr+VXAmQN+9ln"
    b"bu8Alw/QWcVg8hHomzoQODCCdqbJNyOZ8zt9BfYVWrPhgtBpUpIhxaB3jy8XWGM9Hh6/tfjG9zmPbisL9rRtLcDWqZn2ymjH7ygM"
    b"wSc+rwJ5hIHuFegQe+XxLUNWlU2t4hRnOrhYopPaezpjoX2wIOeNzpju6cVZn5gnLiYgOf/xxCHP67gNe9Xx/pW5Q8KaPn+o4FAw"
    b"OXh0X+vlOoFgw4b6zDwLrHW0trMklwVgtDIsNZvq7XmfWYmRP2GTrDUpEZ6eM8YkOmG7d+yjIoDZ8EiX+f1ts0HejcsXGbT1yQA3"
    b'OViohr9Yu3mh2S0PVS+Qd5hX5EHw=","associated_data":"payscore","nonce":"nonce1234567"}}'
)
USER_PAID_RESOURCE: Final = (
    b'{"appid":"wxd678efh567hg6787","mchid":"1230000109","out_order_no":"1234323JKHDFE1243252","service_id'
    b'":"2002000000000558128851361561536","openid":"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o","state":"DONE","total_am'
    b'ount":4000,"order_id":"1000000000202106241234567890123","need_collection":true,"collection":{"state"'
    b':"USER_PAID","total_amount":4000,"paying_amount":0,"paid_amount":4000,"details":[{"seq":1,"amount":4'
    b'000,"paid_type":"NEWTON","paid_time":"20210624163720","transaction_id":"4200000000202106241234567890'
    b'"}]}}'
)

LEGACY_PAID_SIGNATURE: Final = (
    "1B0YHzd8PH6ssPlyRGzroPempi0QdaIUoGUdC1GEOMsiT5p2Vpx1P51F0Orj64i8drOWPWsshT+RkfUCMcMGa4q4EaO4hsDnduS3"
    "BanuQ7P4bR1oZgtGXayRMNn3QcJM2z1h3eUEa+Rii5v7SKGm7QVy9AYOVcyrkOykDoy0Qp29qKeOhB8lqYInujZKQnnEAfh7+J0o"
    "kkOPtsq/tCBv6IMHKgZfM+qR4t1SY1UnWbg+Av0+VGEtctnEtMUVfnqJX/Uu/q6jxlTSMXxe3OwCWBnVr8X+nUpqf02tBP3MStXm"
    "R246cMkCPQ8BAiubWXyDmds85xvEMjrAOQK2s6T+Mg=="
)
LEGACY_PAID_BODY: Final = (
    b'{"id":"EV-TEST-0002","create_time":"2021-06-24T16:37:26+08:00","resource_type":"encrypt-resource","e'
    b'vent_type":"PAYSCORE.USER_PAID","summary":"paid","resource":{"original_type":"payscore","algorithm":'
    b'"AEAD_AES_256_GCM","ciphertext":"SUfJtcLV8A6uagsWC5lxGQ8eO3JSByp7liJaKDgk6BHdqfSLyIsUghUS0fnviI2d8AD'
    b"37CHLUOGgDbRfc/BwHy30wDh+2o1ndT67/wXZT0sec1jQMGp0jbsNPQ3qd03n/RsgsZtCO2bAfV3SFbykZ1ZmX7MqX0CepN0bE8P"
    b"KIEBmY9/NZdqM8HAgQtpP6UFpDPMwmHat/WI/pI+GSxKUaE6DTKL/EF3Or919xJ17Ol0ZHoQvyus9bEIx2CCKcmqMZNN3lYfHz8y"
    b'duAwEUx1FrRS1k7/RMA1viy/qBesC1F3H69N+nCQPjkhFXWNlqnrBf2ru8wuk1/Z3Xjt0pD19OvGDoLrOYzKmIWqYTHu9Fw==","'
    b'associated_data":"payscore","nonce":"nonce7654321"}}'
)
LEGACY_PAID_RESOURCE: Final = (
    b'{"appid":"wxd678efh567hg6787","mchid":"1230000109","out_order_no":"1234323JKHDFE1243252","service_id'
    b'":"500001","state":"USER_PAID","finish_type":2,"total_amount":4000,"pay_succ_time":"20210624163720",'
    b'"finish_transaction_id":"4200000000202106241234567890"}'
)
