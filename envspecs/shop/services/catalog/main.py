#!/usr/bin/python3
"""What the shop sells."""
from shop import db, web


@web.get("/products")
def products(request):
    return db.rows("SELECT * FROM products ORDER BY sku")


@web.get("/products/{sku}")
def product(request, sku):
    found = db.row("SELECT * FROM products WHERE sku = %s", sku)
    if not found:
        raise web.Error(404, f"no product {sku}")
    return found


web.serve()
