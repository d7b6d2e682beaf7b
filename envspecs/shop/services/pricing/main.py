#!/usr/bin/python3
"""What a number of pieces costs today: the catalogue's price, a discount for many, in the customer's currency."""
from shop import rpc, setting, web

currency = rpc.Client(setting("CURRENCY"), "shop.Currency")


def quote(sku, quantity, target="EUR"):
    if quantity < 1:
        raise ValueError(f"quantity {quantity} of {sku}")
    cents = web.call("GET", setting("CATALOG"), f"/products/{sku}")["cents"] * quantity
    if quantity >= 10:
        cents = cents * 9 // 10
    return currency.Convert(cents=cents, source="EUR", target=target)


rpc.serve("shop.Pricing", Quote=quote)
