"""PayScore at WeChat Pay: both families, their orders, and what happens to these behind the merchant's back."""
