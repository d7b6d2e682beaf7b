#!/usr/bin/python3
"""Turns a cart into a paid order."""
from shop import rpc, setting, web

pricing = rpc.Client(setting("PRICING"), "shop.Pricing")
inventory = rpc.Client(setting("INVENTORY"), "shop.Inventory")
payments = rpc.Client(setting("PAYMENTS"), "shop.Payments")


@web.post("/checkout")
def checkout(request):
    wish = request.json
    items = web.call("GET", setting("CART"), f"/carts/{wish['cart']}")
    if not items:
        raise web.Error(409, "the cart is empty")
    currency = wish.get("currency", "EUR")
    reserved = False
    try:
        cents = sum(pricing.Quote(sku=item["sku"], quantity=item["quantity"], target=currency)["cents"] for item in items)
        inventory.Reserve(items=items)
        reserved = True
        payment = payments.Charge(card=wish["card"], cents=cents, currency=currency)["payment"]
    except rpc.Error as error:
        if reserved:
            inventory.Release(items=items)
        raise web.Error(409, error.details())
    order = web.call("POST", setting("ORDERS"), "/orders", {
        "user": wish["user"], "items": items, "cents": cents, "currency": currency, "payment": payment})
    web.call("POST", setting("CART"), f"/carts/{wish['cart']}/clear")
    return order


web.serve()
