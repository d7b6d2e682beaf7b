#!/usr/bin/python3
"""Orders: written to the database first, then queued for the worker that ships them."""
import json

from shop import db, queue, web


@web.post("/orders")
def place(request):
    order = request.json
    row = db.row("INSERT INTO orders (user_id, items, total_cents, currency, payment) VALUES (%s, %s, %s, %s, %s) "
                 "RETURNING *", order["user"], json.dumps(order["items"]), order["cents"], order["currency"],
                 order["payment"])
    queue.push("orders", {"order": row["id"], "user": row["user_id"]})
    return row


@web.get("/orders/{order}")
def show(request, order):
    found = db.row("SELECT * FROM orders WHERE id = %s", int(order))
    if not found:
        raise web.Error(404, f"no order {order}")
    return found


@web.post("/orders/{order}/shipped")
def shipped(request, order):
    db.rows("UPDATE orders SET state = 'SHIPPED', tracking = %s WHERE id = %s", request.json["tracking"], int(order))
    return show(request, order)


@web.get("/bought-with/{sku}")
def bought_with(request, sku):
    return [row["sku"] for row in db.rows(
        "SELECT item->>'sku' AS sku FROM orders, jsonb_array_elements(items) item "
        "WHERE items @> %s AND item->>'sku' <> %s GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 3",
        json.dumps([{"sku": sku}]), sku)]


web.serve()
