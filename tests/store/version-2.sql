BEGIN TRANSACTION;
CREATE TABLE base (
	kpi TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	created BIGINT NOT NULL, 
	value DOUBLE NOT NULL, 
	count DOUBLE, 
	b0 DOUBLE, 
	b1 DOUBLE, 
	b2 DOUBLE, 
	b3 DOUBLE, 
	b4 DOUBLE, 
	b5 DOUBLE, 
	b6 DOUBLE, 
	b7 DOUBLE, 
	b8 DOUBLE, 
	b9 DOUBLE, 
	b10 DOUBLE, 
	b11 DOUBLE, 
	b12 DOUBLE, 
	b13 DOUBLE, 
	b14 DOUBLE, 
	b15 DOUBLE, 
	b16 DOUBLE, 
	b17 DOUBLE, 
	b18 DOUBLE, 
	b19 DOUBLE, 
	PRIMARY KEY (kpi, labels)
)
 WITHOUT ROWID

;
CREATE TABLE breach (
	pipeline TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	about BIGINT NOT NULL, 
	since BIGINT NOT NULL, 
	resolved BIGINT, 
	run_id TEXT, 
	value BIGINT, 
	low BIGINT, 
	high BIGINT, 
	learned INTEGER, 
	noted BIGINT NOT NULL, 
	withdrawn BIGINT, 
	untold INTEGER NOT NULL, 
	PRIMARY KEY (pipeline, kind, subject)
)
 WITHOUT ROWID

;
CREATE TABLE checked (
	dataset TEXT NOT NULL, 
	run_id TEXT NOT NULL, 
	passed BIGINT NOT NULL, 
	failed BIGINT NOT NULL, 
	ended BIGINT NOT NULL, 
	PRIMARY KEY (dataset, run_id)
)
 WITHOUT ROWID

;
CREATE TABLE daily (
	pipeline TEXT NOT NULL, 
	day BIGINT NOT NULL, 
	final INTEGER NOT NULL, 
	backfill INTEGER NOT NULL, 
	result TEXT NOT NULL, 
	runs BIGINT NOT NULL, 
	PRIMARY KEY (pipeline, day, final, backfill, result)
)
 WITHOUT ROWID

;
INSERT INTO "daily" VALUES('orders',20454,1,0,'success',1);
CREATE TABLE exported (
	kpi TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	zero BIGINT, 
	delivered INTEGER NOT NULL, 
	PRIMARY KEY (kpi, labels)
)
 WITHOUT ROWID

;
CREATE TABLE latest (
	kpi TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	stream BLOB NOT NULL, 
	time BIGINT NOT NULL, 
	value DOUBLE NOT NULL, 
	PRIMARY KEY (kpi, labels, stream)
)
 WITHOUT ROWID

;
CREATE TABLE lease (
	name TEXT NOT NULL, 
	holder TEXT NOT NULL, 
	until BIGINT NOT NULL, 
	last BIGINT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "lease" VALUES('forward','',0,0);
CREATE TABLE measure (
	name TEXT NOT NULL, 
	instrument TEXT NOT NULL, 
	unit TEXT NOT NULL, 
	description TEXT NOT NULL, 
	bounds TEXT NOT NULL, 
	PRIMARY KEY (name)
)
 WITHOUT ROWID

;
CREATE TABLE meta (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('schema','2');
CREATE TABLE run (
	run BIGINT NOT NULL, 
	span_id BLOB NOT NULL, 
	pipeline TEXT NOT NULL, 
	attempt BIGINT NOT NULL, 
	result TEXT, 
	started BIGINT NOT NULL, 
	ended BIGINT, 
	seen BIGINT, 
	final INTEGER NOT NULL, 
	backfill INTEGER NOT NULL, 
	self_time DOUBLE, 
	details TEXT, 
	PRIMARY KEY (run, span_id)
)
 WITHOUT ROWID

;
INSERT INTO "run" VALUES(1,X'0000000000000001','orders',1,'success',1767261501000000000,1767261503000000000,NULL,1,0,0.1,NULL);
CREATE TABLE run_key (
	id INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	trace_id BLOB NOT NULL, 
	pipeline TEXT, 
	last BIGINT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE ("key")
);
INSERT INTO "run_key" VALUES(1,'r1',X'4BF92F3577B34DA6A3CE929D0E0E4736','orders',1767261503000000000);
CREATE TABLE stage (
	run BIGINT NOT NULL, 
	span_id BLOB NOT NULL, 
	name TEXT NOT NULL, 
	kind TEXT, 
	result TEXT, 
	started BIGINT NOT NULL, 
	duration BIGINT NOT NULL, 
	self_time BIGINT NOT NULL, 
	wait_time BIGINT NOT NULL, 
	records_in BIGINT, 
	records_out BIGINT, 
	records_failed BIGINT, 
	records_dropped BIGINT, 
	records_duplicate BIGINT, 
	records_bytes BIGINT, 
	details TEXT, 
	PRIMARY KEY (run, span_id)
)
 WITHOUT ROWID

;
INSERT INTO "stage" VALUES(1,X'0000000000000064','load',NULL,NULL,1767261501000000000,1000000000,250000000,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE stream (
	kpi TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	stream BLOB NOT NULL, 
	time BIGINT NOT NULL, 
	value DOUBLE NOT NULL, 
	count DOUBLE, 
	b0 DOUBLE, 
	b1 DOUBLE, 
	b2 DOUBLE, 
	b3 DOUBLE, 
	b4 DOUBLE, 
	b5 DOUBLE, 
	b6 DOUBLE, 
	b7 DOUBLE, 
	b8 DOUBLE, 
	b9 DOUBLE, 
	b10 DOUBLE, 
	b11 DOUBLE, 
	b12 DOUBLE, 
	b13 DOUBLE, 
	b14 DOUBLE, 
	b15 DOUBLE, 
	b16 DOUBLE, 
	b17 DOUBLE, 
	b18 DOUBLE, 
	b19 DOUBLE, 
	PRIMARY KEY (kpi, labels, stream)
)
 WITHOUT ROWID

;
CREATE TABLE sum (
	kpi TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	created BIGINT NOT NULL, 
	value BIGINT NOT NULL, 
	count BIGINT, 
	b0 BIGINT, 
	b1 BIGINT, 
	b2 BIGINT, 
	b3 BIGINT, 
	b4 BIGINT, 
	b5 BIGINT, 
	b6 BIGINT, 
	b7 BIGINT, 
	b8 BIGINT, 
	b9 BIGINT, 
	b10 BIGINT, 
	b11 BIGINT, 
	b12 BIGINT, 
	b13 BIGINT, 
	b14 BIGINT, 
	b15 BIGINT, 
	b16 BIGINT, 
	b17 BIGINT, 
	b18 BIGINT, 
	b19 BIGINT, 
	PRIMARY KEY (kpi, labels)
)
 WITHOUT ROWID

;
INSERT INTO "sum" VALUES('pipeline.run.duration','["orders", "success"]',1767261600000000000,2000000000,1,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,NULL,NULL,NULL,NULL);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "cancellation"]',1767261600000000000,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "failure"]',1767261600000000000,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "lost"]',1767261600000000000,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "skip"]',1767261600000000000,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "success"]',1767261600000000000,1,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "timeout"]',1767261600000000000,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sum" VALUES('pipeline.stage.duration','["orders", "load", "success"]',1767261600000000000,1000000000,1,0,0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,NULL);
INSERT INTO "sum" VALUES('pipeline.stage.self_time','["orders", "load"]',1767261600000000000,250000000,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "sum" VALUES('pipeline.stage.waited','["orders", "load"]',1767261600000000000,0,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE taken (
	kpi TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	created BIGINT NOT NULL, 
	value BIGINT NOT NULL, 
	count BIGINT, 
	b0 BIGINT, 
	b1 BIGINT, 
	b2 BIGINT, 
	b3 BIGINT, 
	b4 BIGINT, 
	b5 BIGINT, 
	b6 BIGINT, 
	b7 BIGINT, 
	b8 BIGINT, 
	b9 BIGINT, 
	b10 BIGINT, 
	b11 BIGINT, 
	b12 BIGINT, 
	b13 BIGINT, 
	b14 BIGINT, 
	b15 BIGINT, 
	b16 BIGINT, 
	b17 BIGINT, 
	b18 BIGINT, 
	b19 BIGINT, 
	PRIMARY KEY (kpi, labels)
)
 WITHOUT ROWID

;
CREATE TABLE watched (
	pipeline TEXT NOT NULL, 
	changes BIGINT NOT NULL, 
	checked BIGINT NOT NULL, 
	next BIGINT, 
	file TEXT, 
	file_since BIGINT, 
	PRIMARY KEY (pipeline)
)
 WITHOUT ROWID

;
INSERT INTO "watched" VALUES('orders',1,0,NULL,NULL,NULL);
CREATE TABLE watermark (
	dataset TEXT NOT NULL, 
	newest BIGINT NOT NULL, 
	PRIMARY KEY (dataset)
)
 WITHOUT ROWID

;
CREATE INDEX run_key_by_last ON run_key (last);
CREATE INDEX run_open ON run (seen, pipeline) WHERE result IS NULL;
CREATE INDEX run_by_start ON run (pipeline, started, ended, result, backfill);
CREATE INDEX run_by_end ON run (pipeline, final, result, ended, backfill, started);
CREATE INDEX checked_by_end ON checked (dataset, ended, run_id);
CREATE INDEX breach_by_since ON breach (since);
CREATE INDEX breach_untold ON breach (since) WHERE untold > 0;
CREATE INDEX breach_open ON breach (pipeline, kind) WHERE resolved IS NULL;
CREATE INDEX breach_by_time ON breach (pipeline, about);
CREATE INDEX stream_by_time ON stream (time);
COMMIT;
