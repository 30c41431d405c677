"""The ops console: is money stuck, where, why, and what can be done. Pages for people, on the worker's ops port."""
