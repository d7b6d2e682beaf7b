#!/usr/bin/python3
"""What others bought with it; without any orders, the cheapest other products."""
from shop import setting, web


@web.get("/recommendations/{sku}")
def recommend(request, sku):
    bought = web.call("GET", setting("ORDERS"), f"/bought-with/{sku}")
    if bought:
        return bought
    others = [product for product in web.call("GET", setting("CATALOG"), "/products") if product["sku"] != sku]
    return [product["sku"] for product in sorted(others, key=lambda product: product["cents"])[:3]]


web.serve()
