BEGIN TRANSACTION;
CREATE TABLE env_file (
    app TEXT NOT NULL, path TEXT NOT NULL, values_of TEXT NOT NULL, PRIMARY KEY (app, path)
) WITHOUT ROWID;
CREATE TABLE event (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, app TEXT NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    cause TEXT NOT NULL
);
INSERT INTO "event" VALUES(1,1700000000.0,'blog','ready','r1 serves','the manifest asks for it');
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "fact" VALUES('notice','');
CREATE TABLE history (app TEXT, what TEXT, value TEXT NOT NULL, PRIMARY KEY (app, what)) WITHOUT ROWID;
INSERT INTO "history" VALUES('blog','pin','null');
CREATE TABLE instance (
    id TEXT PRIMARY KEY, app TEXT NOT NULL, revision TEXT NOT NULL, build TEXT NOT NULL,
    host TEXT NOT NULL, port INTEGER NOT NULL, boot TEXT NOT NULL, started_at REAL NOT NULL,
    stop_timeout_s REAL NOT NULL, workers INTEGER NOT NULL, pid INTEGER, ticks INTEGER,
    ready_at REAL, stopping_since REAL
) WITHOUT ROWID;
INSERT INTO "instance" VALUES('i1','blog','r1','b1','127.0.0.1',8001,'00000000-0000-0000-0000-000000000000',1000.5,30.0,2,4242,777,1012.5,NULL);
INSERT INTO "instance" VALUES('i2','blog','r1','b1','127.0.0.1',8001,'00000000-0000-0000-0000-000000000000',1000.5,30.0,2,NULL,NULL,NULL,NULL);
CREATE TABLE lease (app TEXT PRIMARY KEY, port INTEGER NOT NULL UNIQUE) WITHOUT ROWID;
INSERT INTO "lease" VALUES('blog',8001);
INSERT INTO "lease" VALUES('shop',8002);
CREATE TABLE manifest (file TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO "manifest" VALUES('/srv/manifests/blog.yaml',X'706174683A202E2E2F617070732F626C6F670A');
CREATE TABLE release (app TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (app, id)) WITHOUT ROWID;
INSERT INTO "release" VALUES('blog','rel1');
CREATE TABLE service (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, server TEXT, plan TEXT NOT NULL, asked BLOB,
    retain INTEGER NOT NULL, grace_s REAL NOT NULL, made TEXT NOT NULL, boot TEXT, left_at REAL, dumped INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE service_grant (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, service TEXT NOT NULL, app TEXT NOT NULL, user TEXT NOT NULL,
    password BLOB NOT NULL, parameters BLOB, parameters_id TEXT NOT NULL, credentials TEXT, due TEXT, retiring TEXT
) WITHOUT ROWID;
CREATE TABLE service_standing (
    name TEXT PRIMARY KEY, state TEXT NOT NULL, message TEXT NOT NULL, since REAL NOT NULL, next_try_at REAL,
    size INTEGER
) WITHOUT ROWID;
CREATE TABLE service_use (
    app TEXT NOT NULL, revision TEXT NOT NULL, service_grant TEXT NOT NULL, PRIMARY KEY (app, revision, service_grant)
) WITHOUT ROWID;
CREATE TABLE source (app TEXT PRIMARY KEY, path TEXT NOT NULL, pinned TEXT NOT NULL, content TEXT NOT NULL)
    WITHOUT ROWID;
INSERT INTO "source" VALUES('blog','/srv/apps/blog','','c0ffee');
CREATE TABLE standing (
    app TEXT PRIMARY KEY, state TEXT NOT NULL, message TEXT NOT NULL, wanted TEXT, since REAL NOT NULL,
    next_try_at REAL
) WITHOUT ROWID;
INSERT INTO "standing" VALUES('blog','running','','r1',1700000000.0,NULL);
CREATE TABLE vault (id TEXT PRIMARY KEY, box BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX event_of_app ON event (app, kind);
COMMIT;
PRAGMA user_version=1;
