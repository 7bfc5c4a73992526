BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0001');
CREATE TABLE evaluation (
	id INTEGER NOT NULL, 
	search_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	"key" VARCHAR(16) NOT NULL, 
	status VARCHAR(16) NOT NULL, 
	metrics JSON NOT NULL, 
	error VARCHAR NOT NULL, 
	seconds DOUBLE NOT NULL, 
	history JSON NOT NULL, 
	facts JSON NOT NULL, 
	finished_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (search_id, position), 
	UNIQUE (search_id, number, "key"), 
	FOREIGN KEY(search_id) REFERENCES search (id)
);
INSERT INTO "evaluation" VALUES(1,1,2,0,'c4c33f80a8c7d781','done','{"bbox_mAP": 0.25}','',2.5,'[{"epoch": 1.0, "loss": 3.0}]','{"host": "there"}','2026-11-24 01:34:55.354797');
INSERT INTO "evaluation" VALUES(2,1,4,1,'3c250044360bd37e','done','{"bbox_mAP": 0.5}','',2.5,'[{"epoch": 1.0, "loss": 3.0}]','{"host": "there"}','2026-11-24 01:34:55.359095');
CREATE TABLE proposal (
	id INTEGER NOT NULL, 
	search_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	"key" VARCHAR(16) NOT NULL, 
	architecture VARCHAR(400) NOT NULL, 
	fingerprint VARCHAR(16) NOT NULL, 
	candidate JSON NOT NULL, 
	costs JSON NOT NULL, 
	proposed_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (search_id, position), 
	UNIQUE (search_id, number), 
	FOREIGN KEY(search_id) REFERENCES search (id)
);
INSERT INTO "proposal" VALUES(1,1,1,0,'c4c33f80a8c7d781','vit_pico@32:g','5a804961b70aca2e','{"number": 0, "architecture": {"branches": [{"backbone": "vit_pico", "resolution": 32, "window": null, "global_every": 0}], "interaction": {"count": 0, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {}}','{"published": {"macs": 1060096, "params": 315112, "kept": 21600}, "backbone": {"macs": 991232, "params": 262208, "kept": 21600}}','2026-11-24 01:34:55.352535');
INSERT INTO "proposal" VALUES(2,1,3,1,'3c250044360bd37e','vit_nano@64:g+vit_pico@128:w4*2','8e88624fbea1978d','{"number": 1, "architecture": {"branches": [{"backbone": "vit_nano", "resolution": 64, "window": null, "global_every": 0}, {"backbone": "vit_pico", "resolution": 128, "window": 4, "global_every": 0}], "interaction": {"count": 2, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {}}','{"published": {"macs": 30275328, "params": 1012632, "kept": 695424}, "backbone": {"macs": 40966912, "params": 1239154, "kept": 709760}}','2026-11-24 01:34:55.357447');
INSERT INTO "proposal" VALUES(3,1,5,2,'ba81a3b7a1952929','vit_pico@64:g','b4f5baa4d60ecdb5','{"number": 2, "architecture": {"branches": [{"backbone": "vit_pico", "resolution": 64, "window": null, "global_every": 0}], "interaction": {"count": 0, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {}}','{"published": {"macs": 4146688, "params": 315880, "kept": 86400}, "backbone": {"macs": 4063232, "params": 262208, "kept": 86400}}','2026-11-24 01:34:55.360783');
CREATE TABLE search (
	id INTEGER NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	question VARCHAR(16) NOT NULL, 
	recipe VARCHAR(16) NOT NULL, 
	spec JSON NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "search" VALUES(1,'small','ad8e6231e7a3a9d6','recipe','{"name": "small", "task": "detection", "metric": "bbox_mAP", "seed": 0, "sampler": "piip", "prior": null, "space": {"backbones": ["vit_micro", "vit_nano", "vit_pico"], "resolutions": [32, 64, 96, 128], "windows": ["global", 4], "interactions": [0, 1, 2], "branches": [1, 2, 3], "merges": null, "attention": ["deformable"], "direction": ["both"], "projection": [true], "norm": [true], "heads": 16, "points": 4, "patch": null, "pairing": "inverted", "steps": null, "whole_windows": false, "pretraining_grid": false, "padding": null}, "limit": {"gmacs": [0.02, 0.06], "convention": "backbone", "mparams": null}, "budget": {"trials": 12, "hours": null, "gpu_hours": null, "target": null, "least_gain": null}, "data": {"embedded": "digits", "root": null, "train": null, "val": null}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0, "horizon": null}, "schedule": null, "training": {"detector": "retinanet", "channels": 256, "batch_size": 8, "learning_rate": 0.0001, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0, "flip": 0.5, "scale_jitter": null, "colour_jitter": false, "short_side": 1.0, "loader_workers": 0, "cache_mib": 256, "val_images": null, "measure_every": null, "inherit": false, "max_detections": 100, "anchor_scale": null, "threads": 1, "pretrained": null, "layer_decay": 1.0, "precision": "float32", "checkpointing": false}, "resources": {"cpu": 1.0, "gpu": 0.0}}','2026-11-24 01:34:55.347770');
CREATE INDEX ix_proposal_key ON proposal ("key");
CREATE INDEX ix_proposal_search_id ON proposal (search_id);
CREATE INDEX ix_proposal_fingerprint ON proposal (fingerprint);
CREATE INDEX ix_evaluation_key ON evaluation ("key");
CREATE INDEX ix_evaluation_search_id ON evaluation (search_id);
COMMIT;
