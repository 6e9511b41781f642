BEGIN TRANSACTION;
CREATE TABLE app_release (
    app TEXT NOT NULL, number INTEGER NOT NULL, revision TEXT NOT NULL, build TEXT NOT NULL, at REAL NOT NULL,
    reason TEXT NOT NULL, initiator TEXT NOT NULL, requested_by TEXT NOT NULL, previous TEXT NOT NULL,
    previous_build TEXT NOT NULL, changes TEXT NOT NULL, files TEXT NOT NULL, served_at REAL, served_until REAL,
    failures INTEGER NOT NULL, failure TEXT NOT NULL, failed_at REAL, git_commit TEXT NOT NULL DEFAULT '', git_subject TEXT NOT NULL DEFAULT '', PRIMARY KEY (app, number)
) WITHOUT ROWID
;
INSERT INTO "app_release" VALUES('blog',1,'1f0c5d2a9b3e','7d0c928d7f61',1700000000.0,'first-time','manifest','','','','','',1700000005.0,1700000400.0,0,'',NULL,'','');
INSERT INTO "app_release" VALUES('blog',2,'2a1d6e3b0c4f','8e1d039e8072',1700000390.0,'source-changed','source','','1f0c5d2a9b3e','7d0c928d7f61','[]','',1700000400.0,NULL,0,'',NULL,'4f1c5d2a9b3e7d0c928d7f614f1c5d2a9b3e7d0c','Sell more');
CREATE TABLE env_file (
    app TEXT NOT NULL, path TEXT NOT NULL, values_of TEXT NOT NULL, PRIMARY KEY (app, path)
) WITHOUT ROWID;
INSERT INTO "env_file" VALUES('blog','/srv/secrets/blog.env','{"A_TOKEN": "9e509573649a4636e8eae440"}');
CREATE TABLE event (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, subject TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    text TEXT NOT NULL, cause TEXT NOT NULL, reason TEXT NOT NULL
);
INSERT INTO "event" VALUES(1,1700000000.0,'host','','daemon','started, pid 4242','','');
INSERT INTO "event" VALUES(2,1700000005.0,'app','blog','manifest','manifest it','the manifest asks for it','');
INSERT INTO "event" VALUES(3,1700000010.0,'app','blog','source','source it','the manifest asks for it','');
INSERT INTO "event" VALUES(4,1700000015.0,'app','blog','staging','staging it','the manifest asks for it','');
INSERT INTO "event" VALUES(5,1700000020.0,'app','blog','staged','staged it','the manifest asks for it','');
INSERT INTO "event" VALUES(6,1700000025.0,'app','blog','releasing','releasing it','the manifest asks for it','');
INSERT INTO "event" VALUES(7,1700000030.0,'app','blog','released','released it','the manifest asks for it','');
INSERT INTO "event" VALUES(8,1700000035.0,'app','blog','started','started it','the manifest asks for it','');
INSERT INTO "event" VALUES(9,1700000040.0,'app','blog','ready','ready it','the manifest asks for it','');
INSERT INTO "event" VALUES(10,1700000045.0,'app','blog','exited','died it','the manifest asks for it','');
INSERT INTO "event" VALUES(11,1700000050.0,'app','blog','adopted','adopted it','the manifest asks for it','');
INSERT INTO "event" VALUES(12,1700000055.0,'app','blog','stopped','stopped it','the manifest asks for it','');
INSERT INTO "event" VALUES(13,1700000060.0,'app','blog','failed','failed it','the manifest asks for it','');
INSERT INTO "event" VALUES(14,1700000065.0,'app','blog','listening','listening it','the manifest asks for it','');
INSERT INTO "event" VALUES(15,1700000070.0,'app','blog','removed','removed it','the manifest asks for it','');
INSERT INTO "event" VALUES(16,1700000075.0,'app','blog','holding','holding it','the manifest asks for it','');
INSERT INTO "event" VALUES(17,1700000080.0,'app','blog','sleeping','asleep it','the manifest asks for it','');
INSERT INTO "event" VALUES(18,1700000085.0,'app','blog','request','wish it','the manifest asks for it','');
INSERT INTO "event" VALUES(19,1700000090.0,'app','blog','unhealthy','unwell it','the manifest asks for it','');
INSERT INTO "event" VALUES(20,1700000095.0,'app','blog','healthy','well it','the manifest asks for it','');
INSERT INTO "event" VALUES(21,1700000100.0,'service','blog-db','provisioned','provisioned it','the manifest asks for it','');
INSERT INTO "event" VALUES(22,1700000105.0,'service','blog-db','bound','bound it','the manifest asks for it','');
INSERT INTO "event" VALUES(23,1700000110.0,'service','blog-db','unbound','unbound it','the manifest asks for it','');
INSERT INTO "event" VALUES(24,1700000115.0,'service','blog-db','backup','backup it','the manifest asks for it','');
INSERT INTO "event" VALUES(25,1700000120.0,'host','','secrets','3 secrets are encrypted with a new key','asked for by root','');
INSERT INTO "event" VALUES(26,1700000125.0,'service','cache','failed','cannot reach it','try 1','');
INSERT INTO "event" VALUES(27,1700000130.0,'service','blog-db','request','new credentials for blog','asked for by root','');
INSERT INTO "event" VALUES(28,1700000135.0,'service','blog-db','unhealthy','the credentials of blog do not work: refused','','');
INSERT INTO "event" VALUES(29,1700000140.0,'host','','manifest','refused: bad.yaml','what ran goes on','');
INSERT INTO "event" VALUES(30,1700000500.0,'app','blog','exited','worker.1 (pid 77) exited with 1','','exited');
CREATE TABLE fact (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO "fact" VALUES('notice','');
CREATE TABLE history (app TEXT, what TEXT, value TEXT NOT NULL, PRIMARY KEY (app, what)) WITHOUT ROWID;
INSERT INTO "history" VALUES('blog','pin','{"kind": "rolled back", "about": "r2", "revision": {"app": "blog", "build": {"source": {"path": "/srv/apps/blog", "pinned": ""}, "recipe": {"runtime": "python3.12", "entrypoint": null, "dependencies": null, "extras": [], "groups": []}, "content": "c0ffee"}, "address": {"host": "127.0.0.1", "port": 8001}, "server": {"workers": 2, "threads": 1, "worker_class": null, "settings": {}, "health": null, "start_timeout_s": 60.0, "stop_timeout_s": 30.0, "access_log": true, "counts": false}, "env": {"LOG_LEVEL": "info"}, "release": null, "bindings": [], "env_secrets": {}}}');
INSERT INTO "history" VALUES('blog','proven','[{"app": "blog", "build": {"source": {"path": "/srv/apps/blog", "pinned": ""}, "recipe": {"runtime": "python3.12", "entrypoint": null, "dependencies": null, "extras": [], "groups": []}, "content": "c0ffee"}, "address": {"host": "127.0.0.1", "port": 8001}, "server": {"workers": 2, "threads": 1, "worker_class": null, "settings": {}, "health": null, "start_timeout_s": 60.0, "stop_timeout_s": 30.0, "access_log": true, "counts": false}, "env": {"LOG_LEVEL": "info"}, "release": null, "bindings": [], "env_secrets": {}}]');
INSERT INTO "history" VALUES('blog','rest','"r1"');
INSERT INTO "history" VALUES('blog','troubles','{"boot": "00000000-0000-0000-0000-000000000000", "troubles": [{"revision": "r1", "kind": "crashed", "count": 1, "last_at": 950.0, "reason": "killed by SIGKILL"}, {"revision": "r2", "kind": "bad", "count": 3, "last_at": 900.0, "reason": "exited with 1"}]}');
CREATE TABLE instance (
    id TEXT PRIMARY KEY, app TEXT NOT NULL, revision TEXT NOT NULL, build TEXT NOT NULL,
    host TEXT NOT NULL, port INTEGER NOT NULL, boot TEXT NOT NULL, started_at REAL NOT NULL,
    stop_timeout_s REAL NOT NULL, workers INTEGER NOT NULL, pid INTEGER, ticks INTEGER,
    ready_at REAL, stopping_since REAL
, directory TEXT, process TEXT NOT NULL DEFAULT '', slot INTEGER NOT NULL DEFAULT 0, version TEXT NOT NULL DEFAULT '', stop TEXT NOT NULL DEFAULT '', steps INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
INSERT INTO "instance" VALUES('i1','blog','r1','b1','127.0.0.1',8001,'00000000-0000-0000-0000-000000000000',1000.5,30.0,2,4242,777,1012.5,NULL,NULL,'',0,'','',0);
INSERT INTO "instance" VALUES('i2','blog','r1','b1','127.0.0.1',8001,'00000000-0000-0000-0000-000000000000',1000.5,30.0,2,NULL,NULL,NULL,NULL,NULL,'',0,'','',0);
CREATE TABLE lease (app TEXT PRIMARY KEY, port INTEGER NOT NULL UNIQUE) WITHOUT ROWID;
INSERT INTO "lease" VALUES('blog',8001);
INSERT INTO "lease" VALUES('shop',8002);
CREATE TABLE manifest (file TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO "manifest" VALUES('/srv/manifests/blog.yaml',X'706174683A202E2E2F617070732F626C6F670A');
CREATE TABLE release (app TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (app, id)) WITHOUT ROWID;
INSERT INTO "release" VALUES('blog','rel1');
CREATE TABLE schedule (
    app TEXT NOT NULL, name TEXT NOT NULL, history TEXT NOT NULL, PRIMARY KEY (app, name)
) WITHOUT ROWID
;
CREATE TABLE service (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, type TEXT NOT NULL, server TEXT, plan TEXT NOT NULL, asked BLOB,
    retain INTEGER NOT NULL, grace_s REAL NOT NULL, made TEXT NOT NULL, boot TEXT, left_at REAL, dumped INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO "service" VALUES('cb39a3d02df5','blog-db','sqlite',NULL,'free',X'67414141414142724235666470567679564959574861364762324376394B592D734B3651726C717855436363626E3344453968636D5462536B532D3833444E63663233794577337A726B6870392D2D515578565A79386863663744524769594A6F775259455656653135363863435F7554526443696C6F3D',1,3600.0,'made1',NULL,NULL,0);
CREATE TABLE service_grant (
    id TEXT PRIMARY KEY, number INTEGER NOT NULL, service TEXT NOT NULL, app TEXT NOT NULL, user TEXT NOT NULL,
    password BLOB NOT NULL, parameters BLOB, parameters_id TEXT NOT NULL, credentials TEXT, due TEXT, retiring TEXT
) WITHOUT ROWID;
INSERT INTO "service_grant" VALUES('136ae3d0e158',1,'cb39a3d02df5','blog','u_blog_136ae3d0e158',X'6741414141414272423566646A5233534534487A316B4F456C73506E455530346D6A5F4C7A305759446E525F436F656E715F5476524A4A6859735372453357573278623334647477356E6833306C7A444163667939794D67525178435F53674439776E524E416A66785F486D58466A522D63346258507A7446532D72426D544463386E55664C48353565705459523557486F34414874786170526E3965366A5679673D3D',X'674141414141427242356664486A6E4956735844643731566A734E767075464A4835495F563250473056674B6D48647A69456F736972454F4333786C39495141754F37365955506F3931714B782D68576B5F33734354586A303645636564374A425964794F42754441436F776C354946365A617276414D3D','2f2520d0c63f','49b6b773417b0132778e6694',NULL,NULL);
INSERT INTO "service_grant" VALUES('ab0848d62979',2,'cb39a3d02df5','shop','u_shop_ab0848d62979',X'67414141414142724235666439396D375A517A524F47474262594F52323679776364525A4B52666B477A553533505174626447534B66727974553374794C30485A49397136575F665F5032597A55564E757062654A4C39436F7A794131524A636E7757547149662D32694D3052447A5357324944514777784359555842716742566C326B757459515A792D777264775748614D5F454B61513639546F4A39556B43413D3D',NULL,'',NULL,'no such user','a rotation was asked for');
CREATE TABLE service_standing (
    name TEXT PRIMARY KEY, state TEXT NOT NULL, message TEXT NOT NULL, since REAL NOT NULL, next_try_at REAL,
    size INTEGER
, reason TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
INSERT INTO "service_standing" VALUES('blog-db','ready','',1700000000.0,NULL,4096,'');
INSERT INTO "service_standing" VALUES('cache','failing','cannot reach it',1700000000.0,1700000009.0,NULL,'');
CREATE TABLE service_use (
    app TEXT NOT NULL, revision TEXT NOT NULL, service_grant TEXT NOT NULL, PRIMARY KEY (app, revision, service_grant)
) WITHOUT ROWID;
INSERT INTO "service_use" VALUES('blog','r1','136ae3d0e158');
CREATE TABLE source (app TEXT PRIMARY KEY, path TEXT NOT NULL, pinned TEXT NOT NULL, content TEXT NOT NULL)
    WITHOUT ROWID;
INSERT INTO "source" VALUES('blog','/srv/apps/blog','','c0ffee');
CREATE TABLE standing (
    app TEXT PRIMARY KEY, state TEXT NOT NULL, message TEXT NOT NULL, wanted TEXT, since REAL NOT NULL,
    next_try_at REAL
, reason TEXT NOT NULL DEFAULT '') WITHOUT ROWID;
INSERT INTO "standing" VALUES('blog','degraded','an older revision serves','r2',1700000000.0,1700000060.0,'');
INSERT INTO "standing" VALUES('shop','running','','r3',1700000000.0,NULL,'');
CREATE TABLE task (
    id TEXT PRIMARY KEY, app TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL, command TEXT NOT NULL,
    state TEXT NOT NULL, owed_at REAL NOT NULL, timeout_s REAL NOT NULL, cause TEXT NOT NULL, asked_by TEXT NOT NULL,
    schedule TEXT NOT NULL, fingerprint TEXT NOT NULL, planned_at REAL, attempt INTEGER NOT NULL, wanted TEXT NOT NULL,
    revision TEXT NOT NULL, build TEXT NOT NULL, boot TEXT NOT NULL, pid INTEGER, ticks INTEGER, attached TEXT NOT NULL,
    started_at REAL, told_at REAL, cancelled_by TEXT NOT NULL, ended_at REAL, took_s REAL, code INTEGER, signal INTEGER,
    ending TEXT NOT NULL, peak_memory INTEGER, log_size INTEGER, said TEXT NOT NULL
, made_up INTEGER NOT NULL DEFAULT 0, started_monotonic REAL) WITHOUT ROWID;
INSERT INTO "task" VALUES('8f3a21c0','blog','task','reindex','["python", "reindex.py"]','failed',1700000000.0,86400.0,'requested by root','root','','',NULL,1,'','1f0c5d2a9b3e','7d0c928d7f61','',NULL,NULL,'',NULL,NULL,'',1700000009.0,NULL,3,NULL,'exit code 3',NULL,NULL,'no such table',0,NULL);
CREATE TABLE vault (id TEXT PRIMARY KEY, box BLOB NOT NULL) WITHOUT ROWID;
INSERT INTO "vault" VALUES('49b6b773417b0132778e6694',X'674141414141427242356664326264704A386A454666694644356A695A53744962464441343061706D506E65466E51757670364142326E713749316F7A7431634C7067466A695049416C3277753944544A732D4A4E4A66396C586257455A73747376355A7A61514E707A64444C504353677249723431315745344650544E464C57324148636163354B687974576F755A3168643646773479506C706255346D44534645484F6C52466B4330717272694B6655594D5831656856414F5764786345454D774A6E33544B616A684B725172714B4B3833744A544B6834714B5F65797550673D3D');
INSERT INTO "vault" VALUES('9e509573649a4636e8eae440',X'674141414141427242356664315254336F53677A66553974476D4B754F6F583462744A334746687169684670415A7251594B494A7742536E5964566354434D73683739717969625A6D673663474D6459724A71745A4D4B35395149595452303532773D3D');
INSERT INTO "vault" VALUES('digests',X'674141414141427242356664354A6F332D785877705151334769664869326C5F76364E426E6F6C48466C52546A306B7554494A32784D6968423679506833754B37384D7875476D6463773763673544384F476A674D4F483351796E6441614248777547625253776C7A37685F4830426B2D7432535149573573564E734E7A4635346864722D4176554E5976547A612D6C7A6975304C794C2D6D54393748524866585350556954344374337A705F67434E627341793047343D');
CREATE INDEX event_of_subject ON event (subject, name, kind);
CREATE INDEX task_of_app ON task (app, owed_at);
CREATE INDEX open_task ON task (state) WHERE state IN ('owed', 'running');
CREATE UNIQUE INDEX occurrence ON task (app, schedule, fingerprint, planned_at, attempt) WHERE planned_at IS NOT NULL
;
COMMIT;
PRAGMA user_version=8;
