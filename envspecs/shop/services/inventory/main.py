#!/usr/bin/python3
"""What lies in the warehouse."""
from shop import db, rpc


def stock(sku):
    found = db.row("SELECT free FROM stock WHERE sku = %s", sku)
    if not found:
        raise LookupError(f"no product {sku}")
    return found


def release(items):
    return reserve([{**item, "quantity": -item["quantity"]} for item in items])


def reserve(items):
    """All of them or none."""
    connection = db.connection()
    connection.autocommit = False
    try:
        with connection, connection.cursor() as cursor:
            for item in sorted(items, key=lambda item: item["sku"]):  # In one order, so that no two wait for each other.
                cursor.execute("UPDATE stock SET free = free - %s WHERE sku = %s AND free >= %s",
                               (item["quantity"], item["sku"], item["quantity"]))
                if cursor.rowcount != 1:
                    raise ValueError(f"not enough {item['sku']} in stock")
    finally:
        connection.autocommit = True
    return {"items": len(items)}


rpc.serve("shop.Inventory", Stock=stock, Reserve=reserve, Release=release)
