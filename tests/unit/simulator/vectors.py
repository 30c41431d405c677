"""Published and derived test vectors (reference payscore-api E.9), which come from third parties."""

from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

V1_SERIAL = "D7CE59D1F522D701"
V1_MASKED_KEY = """\
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
"""
V1_CERTIFICATE_PEM = """\
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
V1_PRIVATE_KEY = load_pem_private_key(V1_MASKED_KEY.replace("TESTING", "PRIVATE").encode(), password=None)
V1_CERTIFICATE = load_pem_x509_certificate(V1_CERTIFICATE_PEM.encode())

V1_TEXT = b"source"
V1_SIGNATURE = (
    "BKyAfU4iMCuvXMXS0Wzam3V/cnxZ+JaqigPM5OhljS2iOT95OO6Fsuml2JkFANJU9K6q9bLlDhPXuoVz+pp4hAm6pHU4ld81"
    "5U4jsKu1RkyaII+1CYBUYC8TK0XtJ8FwUXXz8vZHh58rrAVN1XwNyvD1vfpxrMT4SL536GLwvpUHlCqIMzoZUguLli/K8V29"
    "QiOhuH6IEqLNJn8e9b3nwNcQ7be3CzYGpDAKBfDGPCqCv8Rw5zndhlffk2FEA70G4hvMwe51qMN/RAJbknXG23bSlObuTCN7"
    "Ndj1aJGH6/L+hdwfLpUtJm4QYVazzW7DFD27EpSQEqA8bX9+8m1rLg=="
)

V2_TIMESTAMP = "1554208460"
V2_NONCE = "593BEC0C930BF1AFEB40B4A08C8FB242"


class SignedRequest(NamedTuple):
    method: str
    target: str
    body: str
    signature: str


V2_CERTIFICATES = SignedRequest(
    method="GET",
    target="/v3/certificates",
    body="",
    signature=(
        "RjVFHMcrr9NsM4SiNmpFx6QPR99WztxatBshmr/6f7pXnt2YSPAhmNrEEAjWgpOcf5Zxbwl2qdPACOsEOeGrnLD81nVK3ucJ"
        "q50iD0FAyF11knd1C9ic7zV9Jg3zao0+Wx3yAI6jXx6NLBEfNNspCazrQ+IHsUi04tubSBsT+4LHT9j0rL9axFBl7jVYe7uZ"
        "1ZQzap8EokLHDQbYw6qPEOs85+a2rnudh3TCPe81oUfe0zPqwEE6sWxxeSCYx+1mbURsOAN4Z8/uKgOIZxbDAkqYWFb7VOaH"
        "FeejC1rsxUc7wkw0zQWxae1giswROXii1DorwdJ3CGlPchx0PyDjkQ=="
    ),
)
V2_QUERY = SignedRequest(
    method="GET",
    target=(
        "/v3/payscore/serviceorder?service_id=2002000000000558128851361561536&appid=wxd678efh567hg6787&ou"
        "t_order_no=1234323JKHDFE1243252"
    ),
    body="",
    signature=(
        "hTQEgpTcwtpGOQK6iC7yWs24fIbymZLNQn6+WTvqUxhHlgBS5v4df1pc5j1CxUjRX85fpsrtqVZ4z/7/2nDm2myndCZZI57A"
        "z9l2CA/oh128s3+sg6vw03xPkIPWgRyGy6Zv8QWjUR4Zh3WwBYWMb5JL2GYw1MrXGdtZsWqJPK2iDNgbEURaPhUgH2/9amJE"
        "/z00CpSw99HKfsmRAyIFTzf7U4TD88eYGvVhqEJ2Eezj8XQEGG84nbseBMtlLSUhoKahPxkH+wQ7efWrSWbho8796Bkyj90b"
        "7i1pQC+MntJoqIEtoZagT3Hq5M9egKPeZm68DE16wHoCXVGrnP+3ZQ=="
    ),
)
V2_CANCEL = SignedRequest(
    method="POST",
    target="/v3/payscore/serviceorder/1234323JKHDFE1243252/cancel",
    body=('{"appid":"wxd678efh567hg6787","service_id":"2002000000000558128851361561536","reason":"用户投诉"}'),
    signature=(
        "R6UB+CnzThv1hYMcw1fyXxFK2esm+9Rhh2stL0OH6+uGhxAjTddCFN1BXhTnQ0o2YppY5NIVmZqXTFWns+4TfHbVzRbSzmcY"
        "pqwSctVBEJRtbgbkikILwCwBI60V+xTwtyvIEI4lxG53A7+N5pM6fTdwgrUzWkstwxeCXw3PYoa5Ebo9jv9Y0r5B+q8SQvtQ"
        "Uml1Wve7YR8TPvNC+4HhXEIFyoP1X0HLBf0nzYkye07hQpb0KD6uUSNcdnKXA66dcEBbcVZJTLacS8ahQRW+2WlpD2pQbd+f"
        "B+3bvQx/D8vksVrR2CYCu3/EhmYcQ83eujF/YMMSYMPIfQMjpEI12Q=="
    ),
)


class Sealed(NamedTuple):
    key: str
    nonce: str
    associated_data: str
    ciphertext: str
    plaintext: str


V4 = (
    Sealed(
        key="a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb",
        nonce="uluk4a9R25RW",
        associated_data="associatedData",
        ciphertext="ulwSiIajGClcvcOYvOQ7+l+0PAbzzwI=",
        plaintext="message",
    ),
    Sealed(
        key="testAPIv3Key0000",
        nonce="wCq51qZv4Yfg",
        associated_data="Dl56FrqWQJF1t9LtC3vEUsniZKvbqdR8",
        ciphertext="FsdXzxryWfKwvLJKf8LG/ToRPTRh8RN9wROC",
        plaintext="Hello World",
    ),
    Sealed(
        key="0123456789abcdef0123456789abcdef",
        nonce="0123456789abcdef",
        associated_data="world",
        ciphertext="APoZlYpivU3HjbAiB4CvW1rAFr8J",
        plaintext="hello",
    ),
    Sealed(
        key="0123456789abcdef0123456789abcdef",
        nonce="0123456789abcdef",
        associated_data="",
        ciphertext="GvpmmdtYwexXIPhySs9Tlg==",
        plaintext="",
    ),
)

V6_APIV3_KEY = "0123456789abcdef0123456789abcdef"
V6_TIMESTAMP = "1624523846"
V6_NONCE = "EcZ9Cmy4Xyx1i6RlJQzLcCyEqDa26NBz"


class SignedNotification(NamedTuple):
    signature: str
    body: str
    resource_nonce: str
    plaintext: str


V6 = SignedNotification(
    signature=(
        "DN0sWg0dzfDnotq+s86vHD0781I+n3ISkDYw+TKwFof9sngwyZgLqDlrA4D3dKGz6LAqlvcT6Hed4NLZZEEalZVRLHAHCxIt"
        "7NKSEp9lbLGbwHb9BKK5/2CkKverSQp2PM/7tUlVBwvUE2oyF7BhiWPhkFSzQYKp8fkEQoIQu9kw7cbiPhK6qVgUZ3wijJrJ"
        "4b2uK57qyYEzyNghmRxvdRC/yxCpvWSloAeb1cxNTtUKsfgXJ7EUqu8rsfF0oL9tfWUnGDOEC68eDnkryRt8nC7bmO2bJYeM"
        "AJHG2E/cjlglmvilhwcTIx7oxM3uwgOMlfIGvBwZ6r/FBD8ZsNpopw=="
    ),
    body=(
        '{"id":"EV-TEST-0001","create_time":"2021-06-24T16:37:26+08:00","resource_type":"encrypt-resource'
        '","event_type":"PAYSCORE.USER_PAID","summary":"paid","resource":{"original_type":"payscore","alg'
        'orithm":"AEAD_AES_256_GCM","ciphertext":"ShQSJCn+sWc8TUZjqejPOH1i7fCvX/4DlfZnQ2f6rhSNcTNlAeTl1Sp'
        "E04ogXLhjjfNuBhDHbG46qauyYb29TfD46GXS+r16WidS5JF3J5zuhZR6AufUh4YqD0HqZrfIfIfAUlT4+ZpbB1y7zOR6c5w"
        "a9h6S5BEljn45F0tSfvo3UwQguej+K4Zh1ukV7S/E9kjA9CGOncslg6st7qy7PcVIlsygW/WJqTzOIKvH02x3khY1ZquKIGq"
        "VrUi7gEKq8iNWLlyscT3Ifu7h8KN6oBhtPH3xLWy69U1ER37Q3gFUR5j5br4dMr2fqL9z7MttYRMiSgC2xrVpijLJm+CqTEi"
        "9qd4c79AiNYMr+VXAmQN+9lnbu8Alw/QWcVg8hHomzoQODCCdqbJNyOZ8zt9BfYVWrPhgtBpUpIhxaB3jy8XWGM9Hh6/tfjG"
        "9zmPbisL9rRtLcDWqZn2ymjH7ygMwSc+rwJ5hIHuFegQe+XxLUNWlU2t4hRnOrhYopPaezpjoX2wIOeNzpju6cVZn5gnLiYg"
        "Of/xxCHP67gNe9Xx/pW5Q8KaPn+o4FAwOXh0X+vlOoFgw4b6zDwLrHW0trMklwVgtDIsNZvq7XmfWYmRP2GTrDUpEZ6eM8Yk"
        'OmG7d+yjIoDZ8EiX+f1ts0HejcsXGbT1yQA3OViohr9Yu3mh2S0PVS+Qd5hX5EHw=","associated_data":"payscore",'
        '"nonce":"nonce1234567"}}'
    ),
    resource_nonce="nonce1234567",
    plaintext=(
        '{"appid":"wxd678efh567hg6787","mchid":"1230000109","out_order_no":"1234323JKHDFE1243252","servic'
        'e_id":"2002000000000558128851361561536","openid":"oUpF8uMuAJO_M2pxb1Q9zNjWeS6o","state":"DONE","'
        'total_amount":4000,"order_id":"1000000000202106241234567890123","need_collection":true,"collecti'
        'on":{"state":"USER_PAID","total_amount":4000,"paying_amount":0,"paid_amount":4000,"details":[{"s'
        'eq":1,"amount":4000,"paid_type":"NEWTON","paid_time":"20210624163720","transaction_id":"42000000'
        '00202106241234567890"}]}}'
    ),
)
V7 = SignedNotification(
    signature=(
        "1B0YHzd8PH6ssPlyRGzroPempi0QdaIUoGUdC1GEOMsiT5p2Vpx1P51F0Orj64i8drOWPWsshT+RkfUCMcMGa4q4EaO4hsDn"
        "duS3BanuQ7P4bR1oZgtGXayRMNn3QcJM2z1h3eUEa+Rii5v7SKGm7QVy9AYOVcyrkOykDoy0Qp29qKeOhB8lqYInujZKQnnE"
        "Afh7+J0okkOPtsq/tCBv6IMHKgZfM+qR4t1SY1UnWbg+Av0+VGEtctnEtMUVfnqJX/Uu/q6jxlTSMXxe3OwCWBnVr8X+nUpq"
        "f02tBP3MStXmR246cMkCPQ8BAiubWXyDmds85xvEMjrAOQK2s6T+Mg=="
    ),
    body=(
        '{"id":"EV-TEST-0002","create_time":"2021-06-24T16:37:26+08:00","resource_type":"encrypt-resource'
        '","event_type":"PAYSCORE.USER_PAID","summary":"paid","resource":{"original_type":"payscore","alg'
        'orithm":"AEAD_AES_256_GCM","ciphertext":"SUfJtcLV8A6uagsWC5lxGQ8eO3JSByp7liJaKDgk6BHdqfSLyIsUghU'
        "S0fnviI2d8AD37CHLUOGgDbRfc/BwHy30wDh+2o1ndT67/wXZT0sec1jQMGp0jbsNPQ3qd03n/RsgsZtCO2bAfV3SFbykZ1Z"
        "mX7MqX0CepN0bE8PKIEBmY9/NZdqM8HAgQtpP6UFpDPMwmHat/WI/pI+GSxKUaE6DTKL/EF3Or919xJ17Ol0ZHoQvyus9bEI"
        "x2CCKcmqMZNN3lYfHz8yduAwEUx1FrRS1k7/RMA1viy/qBesC1F3H69N+nCQPjkhFXWNlqnrBf2ru8wuk1/Z3Xjt0pD19OvG"
        'DoLrOYzKmIWqYTHu9Fw==","associated_data":"payscore","nonce":"nonce7654321"}}'
    ),
    resource_nonce="nonce7654321",
    plaintext=(
        '{"appid":"wxd678efh567hg6787","mchid":"1230000109","out_order_no":"1234323JKHDFE1243252","servic'
        'e_id":"500001","state":"USER_PAID","finish_type":2,"total_amount":4000,"pay_succ_time":"20210624'
        '163720","finish_transaction_id":"4200000000202106241234567890"}'
    ),
)
