-- A database as schema 1 wrote it, with one environment. History: never edited.
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
-- Outlives the environments of a name, so that a generation is never used twice.
CREATE TABLE names(name TEXT PRIMARY KEY, generation INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE environments(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uid TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  generation INTEGER NOT NULL,
  scope TEXT NOT NULL,
  state INTEGER NOT NULL,
  verdict INTEGER NOT NULL,
  create_ns INTEGER NOT NULL,
  update_ns INTEGER NOT NULL,
  expire_ns INTEGER NOT NULL,
  delete_ns INTEGER NOT NULL,
  delete_requested INTEGER NOT NULL,
  etag INTEGER NOT NULL,
  owner TEXT NOT NULL,
  request_id TEXT,
  request TEXT NOT NULL,  -- JSON, without secrets.
  cause TEXT NOT NULL     -- JSON, or empty.
) STRICT;
CREATE UNIQUE INDEX environments_by_name ON environments(name, generation);
CREATE UNIQUE INDEX environments_live ON environments(name) WHERE state <> 7;
CREATE UNIQUE INDEX environments_by_request ON environments(owner, request_id) WHERE request_id IS NOT NULL;
CREATE TABLE events(
  environment INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  time_ns INTEGER NOT NULL,
  offset_ns INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  detail TEXT NOT NULL,  -- JSON of what is not the default, or empty.
  PRIMARY KEY(environment, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE resources(
  environment INTEGER NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  digest TEXT NOT NULL,
  confirmed INTEGER NOT NULL,
  PRIMARY KEY(environment, kind, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE start_times(
  catalogue TEXT NOT NULL,
  node TEXT NOT NULL,
  start_ns INTEGER NOT NULL,
  PRIMARY KEY(catalogue, node)
) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES('installation', '5f1b2c3d-0000-4000-8000-000000000001');
INSERT INTO names VALUES('checkout', 1);
INSERT INTO environments VALUES(1, 'uid-1', 'checkout', 1, 'checkout-aaaaaaaaaa', 5, 3, 1700000000000000000,
  1700000001000000000, 9223372036854775807, 9223372036854775807, 0, 4, 'ci', 'req-1',
  '{"engine":"local","name":"checkout","owner":"ci","request_id":"req-1","source":"/src/shop","ttl":3600000000000}',
  '{"code":301,"message":"used 128 MiB of 128 MiB","node":"cart"}');
INSERT INTO events VALUES(1, 1, 1700000000000000000, 0, 1, '');
INSERT INTO events VALUES(1, 2, 1700000000500000000, 500000000, 4, '{"attempt":1,"node":"cart","node_state":5}');
INSERT INTO resources VALUES(1, 'scope', 'checkout-aaaaaaaaaa', 1, '', 1);
INSERT INTO start_times VALUES('shop', 'cart', 120000000);
PRAGMA user_version = 1;
