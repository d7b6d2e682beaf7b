#!/usr/bin/python3
"""A customer buys something through the gateway; the database must show all of it."""
import http.client
import json
import time
import unittest
from urllib.parse import urlsplit

from shop import db, setting, testing, web

GATEWAY = setting("GATEWAY")


def buy(session, body):
    connection = http.client.HTTPConnection(urlsplit(GATEWAY).netloc, timeout=10)
    connection.request("POST", "/buy", json.dumps(body), {"X-Session": session, "Content-Type": "application/json"})
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def eventually(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    return condition()


class Order(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.user = web.call("POST", GATEWAY, "/api/users/users", {"email": "order@example.com", "name": "Order"})
        cls.session = web.call("POST", GATEWAY, "/api/auth/login", {"email": "order@example.com"})["token"]

    def test_an_order_is_paid_booked_and_shipped(self):
        before = db.row("SELECT free FROM stock WHERE sku = 'mug'")["free"]
        web.call("POST", GATEWAY, "/api/cart/carts/one/items", {"sku": "mug", "quantity": 10})
        web.call("POST", GATEWAY, "/api/cart/carts/one/items", {"sku": "map"})
        status, order = buy(self.session, {"cart": "one", "card": "4000111122223333", "currency": "USD"})
        self.assertEqual(status, 200, order)

        row = db.row("SELECT * FROM orders WHERE id = %s", order["id"])
        self.assertEqual(row["user_id"], self.user["id"])
        self.assertEqual(row["total_cents"], 12375 + 1089)  # Ten mugs less a tenth, a map, at 1.1.
        self.assertEqual(db.row("SELECT free FROM stock WHERE sku = 'mug'")["free"], before - 10)
        self.assertEqual(db.row("SELECT sum(cents)::int AS sum FROM ledger WHERE reference = %s", row["payment"])["sum"], 0)
        self.assertEqual(web.call("GET", GATEWAY, "/api/cart/carts/one"), [])
        shipped = eventually(lambda: db.row("SELECT tracking FROM orders WHERE id = %s AND state = 'SHIPPED'", order["id"]))
        self.assertTrue(shipped and shipped["tracking"].startswith("MF"), shipped)

    def test_a_declined_card_makes_no_order(self):
        state = lambda: db.row("SELECT (SELECT count(*) FROM orders WHERE user_id = %s) AS orders, "
                               "(SELECT free FROM stock WHERE sku = 'lamp') AS free", self.user["id"])
        before = state()
        web.call("POST", GATEWAY, "/api/cart/carts/two/items", {"sku": "lamp"})
        status, answer = buy(self.session, {"cart": "two", "card": "5000", "currency": "EUR"})
        self.assertEqual((status, "card declined" in str(answer)), (409, True), answer)
        self.assertEqual(state(), before)

    def test_a_stranger_buys_nothing(self):
        status, _ = buy("made-up", {"cart": "three", "card": "4000"})
        self.assertEqual(status, 401)


testing.main("order-e2e.xml")
