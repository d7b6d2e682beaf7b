#!/usr/bin/python3
"""What clients of the gateway rely on."""
import unittest

from shop import setting, testing, web

GATEWAY = setting("GATEWAY")


def get(path):
    return web.call("GET", GATEWAY, path)


class Contract(unittest.TestCase):
    def test_products_have_their_fields(self):
        for product in get("/api/catalog/products"):
            self.assertEqual(set(product), {"sku", "title", "description", "cents"})

    def test_search_finds_by_word(self):
        self.assertEqual(get("/api/search/search?q=river"), ["lamp", "map"])

    def test_recommendations_are_other_products(self):
        found = get("/api/recommendations/recommendations/mug")
        self.assertTrue(found and "mug" not in found, found)

    def test_a_review_shows_on_the_product_page(self):
        web.call("POST", GATEWAY, "/api/reviews/reviews/net", {"stars": 3, "text": "Holes of the right size"})
        self.assertIn("Holes of the right size", get("/product/net"))

    def test_what_is_not_there_is_404(self):
        for path in ("/api/catalog/products/nothing", "/api/users/users/0", "/api/orders/orders/0"):
            with self.subTest(path), self.assertRaises(web.Error) as caught:
                get(path)
            self.assertEqual(caught.exception.status, 404)

    def test_an_unknown_user_cannot_log_in(self):
        with self.assertRaises(web.Error) as caught:
            web.call("POST", GATEWAY, "/api/auth/login", {"email": "nobody@example.com"})
        self.assertEqual(caught.exception.status, 401)


testing.main("api-contract.xml")
