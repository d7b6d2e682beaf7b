#!/usr/bin/python3
"""The worker empties the queue, tells the customer, and survives an order that does not exist."""
import time
import unittest

from shop import queue, setting, testing, web


def place():
    return web.call("POST", setting("ORDERS"), "/orders", {
        "user": 1, "items": [{"sku": "net", "quantity": 1}], "cents": 3100, "currency": "EUR", "payment": "pay-test"})["id"]


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def shipped(order):
    return web.call("GET", setting("ORDERS"), f"/orders/{order}")["state"] == "SHIPPED"


class Queue(unittest.TestCase):
    def test_every_order_is_shipped_once(self):
        orders = [place() for _ in range(20)]
        self.assertTrue(wait_for(lambda: all(shipped(order) for order in orders)))
        def told():
            return web.call("GET", setting("NOTIFICATIONS"), "/users/1/messages")
        for order in orders:
            self.assertTrue(wait_for(lambda: any(f"order {order} is" in text for text in told())))
            self.assertEqual(sum(f"order {order} is" in text for text in told()), 1)

    def test_a_job_without_an_order_does_not_stop_the_worker(self):
        queue.push("orders", {"order": -1, "user": "nobody", "broken": True})
        order = place()
        self.assertTrue(wait_for(lambda: shipped(order)))


testing.main("queue.xml")
