#!/usr/bin/python3
"""Ships what was ordered: takes orders from the queue, gets a parcel, tells the order and the customer."""
from shop import end_on_sigterm, log, queue, rpc, setting, web

shipping = rpc.Client(setting("SHIPPING"), "shop.Shipping")


def ship(job):
    tracking = shipping.Ship(order=job["order"])["tracking"]
    web.call("POST", setting("ORDERS"), f"/orders/{job['order']}/shipped", {"tracking": tracking})
    web.call("POST", setting("NOTIFICATIONS"), f"/users/{job['user']}/messages",
             {"text": f"Your order {job['order']} is on its way: {tracking}"})
    log(f"shipped order {job['order']} as {tracking}")


end_on_sigterm()
queue.store.ping()
log("waiting for orders")
while True:
    job = queue.take("orders")
    if job is None:
        continue
    try:
        ship(job)
    except Exception as error:  # One bad order must not stop the others; it stays visible in its own queue.
        log(f"order {job}: {error!r}")
        queue.push("orders-failed", job)
