INSERT INTO products (sku, title, description, cents) VALUES
  ('mug', 'Mayfly mug', 'Holds coffee for a day', 1250),
  ('lamp', 'River lamp', 'A warm light that insects like', 4900),
  ('net', 'Landing net', 'Fine mesh, wooden handle', 3100),
  ('boots', 'Wading boots', 'Felt soles, dry feet', 8900),
  ('map', 'River map', 'Every riffle and pool', 990),
  ('reel', 'Fly reel', 'Click and pawl', 11900);
INSERT INTO stock (sku, free) SELECT sku, 100 FROM products;
INSERT INTO reviews (sku, stars, text) VALUES ('mug', 5, 'Still warm at dusk'), ('lamp', 4, 'Bright');
INSERT INTO users (email, name) VALUES ('ephemera@example.com', 'Ephemera');
