CREATE TABLE users (id serial PRIMARY KEY, email text UNIQUE NOT NULL, name text NOT NULL);
CREATE TABLE products (sku text PRIMARY KEY, title text NOT NULL, description text NOT NULL, cents integer NOT NULL);
CREATE TABLE stock (sku text PRIMARY KEY REFERENCES products, free integer NOT NULL CHECK (free >= 0));
CREATE TABLE orders (
  id serial PRIMARY KEY,
  user_id integer NOT NULL REFERENCES users,
  items jsonb NOT NULL,
  total_cents integer NOT NULL,
  currency text NOT NULL,
  payment text NOT NULL,
  state text NOT NULL DEFAULT 'PLACED',
  tracking text
);
CREATE TABLE ledger (
  id serial PRIMARY KEY,
  account text NOT NULL,
  cents integer NOT NULL,
  reference text NOT NULL
);
CREATE TABLE reviews (id serial PRIMARY KEY, sku text NOT NULL REFERENCES products, stars integer NOT NULL, text text NOT NULL);
