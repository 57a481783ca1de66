BEGIN TRANSACTION;
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
CREATE TABLE exported (
	kpi TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	zero BIGINT, 
	delivered INTEGER NOT NULL, 
	PRIMARY KEY (kpi, labels)
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
CREATE TABLE meta (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "meta" VALUES('schema','2');
CREATE TABLE run (
	run INTEGER NOT NULL, 
	span_id BLOB NOT NULL, 
	trace_id BLOB NOT NULL, 
	pipeline TEXT NOT NULL, 
	attempt BIGINT NOT NULL, 
	result TEXT, 
	started BIGINT NOT NULL, 
	ended BIGINT, 
	seen BIGINT NOT NULL, 
	final INTEGER NOT NULL, 
	details TEXT NOT NULL, 
	PRIMARY KEY (run, span_id), 
	FOREIGN KEY(run) REFERENCES run_id (id)
)
 WITHOUT ROWID

;
INSERT INTO "run" VALUES(1,X'0000000000000001',X'4BF92F3577B34DA6A3CE929D0E0E4736','orders',1,'success',1767261501000000000,1767261503000000000,1767261503000000000,1,'{"self_time":0.1}');
CREATE TABLE run_id (
	id INTEGER NOT NULL, 
	run_id TEXT NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (run_id)
);
INSERT INTO "run_id" VALUES(1,'r1');
CREATE TABLE stage (
	run INTEGER NOT NULL, 
	span_id BLOB NOT NULL, 
	trace_id BLOB NOT NULL, 
	name TEXT NOT NULL, 
	pipeline TEXT, 
	result TEXT NOT NULL, 
	started BIGINT NOT NULL, 
	ended BIGINT NOT NULL, 
	self_time FLOAT NOT NULL, 
	wait_time FLOAT NOT NULL, 
	records_in BIGINT, 
	records_out BIGINT, 
	records_failed BIGINT, 
	records_dropped BIGINT, 
	records_duplicate BIGINT, 
	records_bytes BIGINT, 
	details TEXT NOT NULL, 
	PRIMARY KEY (run, span_id), 
	FOREIGN KEY(run) REFERENCES run_id (id)
)
 WITHOUT ROWID

;
INSERT INTO "stage" VALUES(1,X'0000000000000064',X'4BF92F3577B34DA6A3CE929D0E0E4736','load','orders','success',1767261501000000000,1767261502000000000,0.25,0.0,NULL,NULL,NULL,NULL,NULL,NULL,'{}');
CREATE TABLE sum (
	kpi TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	width INTEGER NOT NULL, 
	created BIGINT NOT NULL, 
	value BIGINT NOT NULL, 
	count BIGINT NOT NULL, 
	b0 BIGINT NOT NULL, 
	b1 BIGINT NOT NULL, 
	b2 BIGINT NOT NULL, 
	b3 BIGINT NOT NULL, 
	b4 BIGINT NOT NULL, 
	b5 BIGINT NOT NULL, 
	b6 BIGINT NOT NULL, 
	b7 BIGINT NOT NULL, 
	b8 BIGINT NOT NULL, 
	b9 BIGINT NOT NULL, 
	b10 BIGINT NOT NULL, 
	b11 BIGINT NOT NULL, 
	b12 BIGINT NOT NULL, 
	b13 BIGINT NOT NULL, 
	b14 BIGINT NOT NULL, 
	b15 BIGINT NOT NULL, 
	b16 BIGINT NOT NULL, 
	b17 BIGINT NOT NULL, 
	b18 BIGINT NOT NULL, 
	b19 BIGINT NOT NULL, 
	PRIMARY KEY (kpi, labels)
)
 WITHOUT ROWID

;
INSERT INTO "sum" VALUES('pipeline.run.duration','["orders", "success"]',18,1767261600000000000,2000000000,1,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "cancellation"]',1,1767261600000000000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "failure"]',1,1767261600000000000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "lost"]',1,1767261600000000000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "skip"]',1,1767261600000000000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "success"]',1,1767261600000000000,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "sum" VALUES('pipeline.run.ended','["orders", "timeout"]',1,1767261600000000000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "sum" VALUES('pipeline.stage.duration','["orders", "load", "success"]',21,1767261600000000000,1000000000,1,0,0,0,1,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "sum" VALUES('pipeline.stage.self_time','["orders", "load"]',1,1767261600000000000,250000000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0);
INSERT INTO "sum" VALUES('pipeline.stage.waited','["orders", "load"]',1,1767261600000000000,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0);
CREATE TABLE taken (
	kpi TEXT NOT NULL, 
	labels TEXT NOT NULL, 
	width INTEGER NOT NULL, 
	created BIGINT NOT NULL, 
	value BIGINT NOT NULL, 
	count BIGINT NOT NULL, 
	b0 BIGINT NOT NULL, 
	b1 BIGINT NOT NULL, 
	b2 BIGINT NOT NULL, 
	b3 BIGINT NOT NULL, 
	b4 BIGINT NOT NULL, 
	b5 BIGINT NOT NULL, 
	b6 BIGINT NOT NULL, 
	b7 BIGINT NOT NULL, 
	b8 BIGINT NOT NULL, 
	b9 BIGINT NOT NULL, 
	b10 BIGINT NOT NULL, 
	b11 BIGINT NOT NULL, 
	b12 BIGINT NOT NULL, 
	b13 BIGINT NOT NULL, 
	b14 BIGINT NOT NULL, 
	b15 BIGINT NOT NULL, 
	b16 BIGINT NOT NULL, 
	b17 BIGINT NOT NULL, 
	b18 BIGINT NOT NULL, 
	b19 BIGINT NOT NULL, 
	PRIMARY KEY (kpi, labels)
)
 WITHOUT ROWID

;
CREATE TABLE watermark (
	dataset TEXT NOT NULL, 
	newest BIGINT NOT NULL, 
	PRIMARY KEY (dataset)
);
CREATE INDEX checked_by_end ON checked (dataset, ended, run_id);
CREATE INDEX run_by_pipeline ON run (pipeline, started);
CREATE INDEX run_by_result ON run (pipeline, result, ended, final);
CREATE INDEX run_by_seen ON run (seen);
CREATE INDEX stage_by_end ON stage (ended);
COMMIT;
