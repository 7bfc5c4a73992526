BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0003');
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
	finished_at DATETIME NOT NULL, sitting INTEGER DEFAULT '0' NOT NULL, host VARCHAR(255) DEFAULT '' NOT NULL, gpu_seconds DOUBLE DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (search_id, position), 
	UNIQUE (search_id, number, "key"), 
	FOREIGN KEY(search_id) REFERENCES search (id)
);
INSERT INTO "evaluation" VALUES(1,1,2,0,'c2043f27a7864f95','done','{"bbox_mAP": 0.46444444444444444}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.323639',1,'',0.0);
INSERT INTO "evaluation" VALUES(2,1,4,1,'647f5f21b26545c0','done','{"bbox_mAP": 0.4444444444444444}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.339322',1,'',0.0);
INSERT INTO "evaluation" VALUES(3,1,6,2,'a93c6638605684c4','done','{"bbox_mAP": 0.509795918367347}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.356713',1,'',0.0);
INSERT INTO "evaluation" VALUES(4,1,8,3,'701a4905a2da159c','done','{"bbox_mAP": 0.5383018867924528}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.368135',1,'',0.0);
INSERT INTO "evaluation" VALUES(5,1,10,4,'da4523a1ebf8efc3','done','{"bbox_mAP": 0.32432432432432434}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.375687',1,'',0.0);
INSERT INTO "evaluation" VALUES(6,1,12,5,'7e329f77fee02bfe','done','{"bbox_mAP": 0.4897959183673469}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.383669',1,'',0.0);
INSERT INTO "evaluation" VALUES(7,1,14,6,'136276d6020521cc','done','{"bbox_mAP": 0.45444444444444443}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.395402',1,'',0.0);
INSERT INTO "evaluation" VALUES(8,2,2,0,'c8f8d802de12fe5c','done','{"bbox_mAP": 0.32432432432432434}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.475787',1,'',0.0);
INSERT INTO "evaluation" VALUES(9,2,4,1,'c6a4a132cdfac6b9','done','{"bbox_mAP": 0.45444444444444443}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.487697',1,'',0.0);
INSERT INTO "evaluation" VALUES(10,2,6,2,'1333873370c1fa97','done','{"bbox_mAP": 0.33432432432432435}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.499855',1,'',0.0);
INSERT INTO "evaluation" VALUES(11,2,8,3,'235ba37abc2dc96f','done','{"bbox_mAP": 0.5483018867924528}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.511748',1,'',0.0);
INSERT INTO "evaluation" VALUES(12,2,10,4,'e2336d0ed8bce4ed','done','{"bbox_mAP": 0.4102439024390244}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:13.832059',1,'',0.0);
INSERT INTO "evaluation" VALUES(13,2,12,5,'a19c52dc1de517ed','done','{"bbox_mAP": 0.5483018867924528}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:14.076722',1,'',0.0);
INSERT INTO "evaluation" VALUES(14,2,14,6,'c4c33f80a8c7d781','done','{"bbox_mAP": 0.13793103448275862}','',0.5,'[{"epoch": 1.0, "loss": 2.0}, {"epoch": 2.0, "loss": 1.0}]','{}','2026-11-29 01:30:14.267863',1,'',0.0);
CREATE TABLE front (
	id INTEGER NOT NULL, 
	search_id INTEGER NOT NULL, 
	position INTEGER NOT NULL, 
	tier DOUBLE NOT NULL, 
	members JSON NOT NULL, 
	hypervolume DOUBLE NOT NULL, 
	found_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (search_id, position, tier), 
	FOREIGN KEY(search_id) REFERENCES search (id)
);
INSERT INTO "front" VALUES(1,1,2,0.06,'[0]',2.41583440592592568751e-01,'2026-11-29 01:30:13.323639');
INSERT INTO "front" VALUES(2,1,6,0.06,'[0, 2]',2.43774436813303047033e-01,'2026-11-29 01:30:13.356713');
INSERT INTO "front" VALUES(3,1,8,0.06,'[0, 3]',2.47320489761006234719e-01,'2026-11-29 01:30:13.368135');
INSERT INTO "front" VALUES(4,1,10,0.02,'[4]',1.20277102702702712311e-01,'2026-11-29 01:30:13.375687');
INSERT INTO "front" VALUES(5,1,10,0.06,'[4, 0, 3]',3.34929916788033299468e-01,'2026-11-29 01:30:13.375687');
INSERT INTO "front" VALUES(6,1,12,0.06,'[4, 0, 5, 3]',3.43508084878736297262e-01,'2026-11-29 01:30:13.383669');
INSERT INTO "front" VALUES(7,2,2,0.02,'[0]',1.78130335135135126067e-01,'2026-11-29 01:30:13.475787');
INSERT INTO "front" VALUES(8,2,2,0.06,'[0]',2.7559299459459463133e-01,'2026-11-29 01:30:13.475787');
INSERT INTO "front" VALUES(9,2,4,0.06,'[0, 1]',3.40740287183183165886e-01,'2026-11-29 01:30:13.487697');
INSERT INTO "front" VALUES(10,2,6,0.02,'[0, 2]',1.832331351351351445e-01,'2026-11-29 01:30:13.499855');
INSERT INTO "front" VALUES(11,2,6,0.06,'[0, 2, 1]',3.4410118318318316799e-01,'2026-11-29 01:30:13.499855');
INSERT INTO "front" VALUES(12,2,8,0.06,'[0, 2, 1, 3]',3.52260923963057359653e-01,'2026-11-29 01:30:13.511748');
INSERT INTO "front" VALUES(13,2,10,0.02,'[0, 2, 4]',1.84301839852340165748e-01,'2026-11-29 01:30:13.832059');
INSERT INTO "front" VALUES(14,2,10,0.06,'[0, 2, 4, 1, 3]',0.365219525402741,'2026-11-29 01:30:13.832059');
INSERT INTO "front" VALUES(15,2,14,0.02,'[6, 0, 2, 4]',2.39640212266133301177e-01,'2026-11-29 01:30:14.267863');
INSERT INTO "front" VALUES(16,2,14,0.06,'[6, 0, 2, 4, 1, 3]',3.83665649540672060169e-01,'2026-11-29 01:30:14.267863');
CREATE TABLE promotion (
	id INTEGER NOT NULL, 
	search_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	first INTEGER NOT NULL, 
	rung INTEGER NOT NULL, 
	promoted_at DATETIME NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (search_id, number), 
	FOREIGN KEY(search_id) REFERENCES search (id)
);
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
	proposed_at DATETIME NOT NULL, sitting INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (search_id, position), 
	UNIQUE (search_id, number), 
	FOREIGN KEY(search_id) REFERENCES search (id)
);
INSERT INTO "proposal" VALUES(1,1,1,0,'c2043f27a7864f95','vit_nano@64:g+vit_pico@96:g*2','1161be80172cd5ec','{"number": 0, "architecture": {"branches": [{"backbone": "vit_nano", "resolution": 64, "window": null, "global_every": 0}, {"backbone": "vit_pico", "resolution": 96, "window": null, "global_every": 0}], "interaction": {"count": 2, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "uniform"}}','{"published": {"macs": 21691136, "params": 1010840, "kept": 520976}, "backbone": {"macs": 28790656, "params": 1239154, "kept": 531728}}','2026-11-29 01:30:13.302947',1);
INSERT INTO "proposal" VALUES(2,1,3,1,'647f5f21b26545c0','vit_micro@32:w4+vit_nano@128:w4*0','f0ea5f03f7d3904b','{"number": 1, "architecture": {"branches": [{"backbone": "vit_micro", "resolution": 32, "window": 4, "global_every": 0}, {"backbone": "vit_nano", "resolution": 128, "window": 4, "global_every": 0}], "interaction": {"count": 0, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "uniform"}}','{"published": {"macs": 38494720, "params": 1563752, "kept": 622144}, "backbone": {"macs": 55312384, "params": 2012386, "kept": 634432}}','2026-11-29 01:30:13.326307',1);
INSERT INTO "proposal" VALUES(3,1,5,2,'a93c6638605684c4','vit_micro@64:w4+vit_pico@128:g*2','5a98fb574c7c75fe','{"number": 2, "architecture": {"branches": [{"backbone": "vit_micro", "resolution": 64, "window": 4, "global_every": 0}, {"backbone": "vit_pico", "resolution": 128, "window": null, "global_every": 0}], "interaction": {"count": 2, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "uniform"}}','{"published": {"macs": 39240704, "params": 1460936, "kept": 830400}, "backbone": {"macs": 57101312, "params": 1871138, "kept": 850880}}','2026-11-29 01:30:13.340808',1);
INSERT INTO "proposal" VALUES(4,1,7,3,'701a4905a2da159c','vit_nano@96:g+vit_pico@128:g*1','9484d4d2e70e0171','{"number": 3, "architecture": {"branches": [{"backbone": "vit_nano", "resolution": 96, "window": null, "global_every": 0}, {"backbone": "vit_pico", "resolution": 128, "window": null, "global_every": 0}], "interaction": {"count": 1, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "uniform"}}','{"published": {"macs": 41301824, "params": 948912, "kept": 795944}, "backbone": {"macs": 55339360, "params": 1173514, "kept": 817960}}','2026-11-29 01:30:13.358128',1);
INSERT INTO "proposal" VALUES(5,1,9,4,'da4523a1ebf8efc3','vit_micro@32:w4+vit_pico@64:g*0','f3524791d77eda10','{"number": 4, "architecture": {"branches": [{"backbone": "vit_micro", "resolution": 32, "window": 4, "global_every": 0}, {"backbone": "vit_pico", "resolution": 64, "window": null, "global_every": 0}], "interaction": {"count": 0, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "uniform"}}','{"published": {"macs": 7964160, "params": 1282152, "kept": 161984}, "backbone": {"macs": 12582912, "params": 1696962, "kept": 167104}}','2026-11-29 01:30:13.369598',1);
INSERT INTO "proposal" VALUES(6,1,11,5,'7e329f77fee02bfe','vit_micro@32:w4+vit_nano@64:w4+vit_pico@96:g*0','bf77c14085268da3','{"number": 5, "architecture": {"branches": [{"backbone": "vit_micro", "resolution": 32, "window": 4, "global_every": 0}, {"backbone": "vit_nano", "resolution": 64, "window": 4, "global_every": 0}, {"backbone": "vit_pico", "resolution": 96, "window": null, "global_every": 0}], "interaction": {"count": 0, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "uniform"}}','{"published": {"macs": 22294272, "params": 1819880, "kept": 419424}, "backbone": {"macs": 35037184, "params": 2496291, "kept": 432992}}','2026-11-29 01:30:13.377410',1);
INSERT INTO "proposal" VALUES(7,1,13,6,'136276d6020521cc','vit_micro@64:w4+vit_pico@96:g*1','ded303725d44ec26','{"number": 6, "architecture": {"branches": [{"backbone": "vit_micro", "resolution": 64, "window": 4, "global_every": 0}, {"backbone": "vit_pico", "resolution": 96, "window": null, "global_every": 0}], "interaction": {"count": 1, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "uniform"}}','{"published": {"macs": 26578304, "params": 1372056, "kept": 494808}, "backbone": {"macs": 38662208, "params": 1784050, "kept": 509912}}','2026-11-29 01:30:13.385120',1);
INSERT INTO "proposal" VALUES(8,1,15,7,'ecf1591c33a2f590','vit_nano@64:w4','2761e2ec26499ffc','{"number": 7, "architecture": {"branches": [{"backbone": "vit_nano", "resolution": 64, "window": 4, "global_every": 0}], "interaction": {"count": 0, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "uniform"}}','{"published": {"macs": 8579328, "params": 620776, "kept": 129472}, "backbone": {"macs": 8454144, "params": 540768, "kept": 129472}}','2026-11-29 01:30:13.397009',1);
INSERT INTO "proposal" VALUES(9,2,1,0,'c8f8d802de12fe5c','vit_nano@32:g+vit_pico@64:g*0','a6c528948196a2e9','{"number": 0, "architecture": {"branches": [{"backbone": "vit_nano", "resolution": 32, "window": null, "global_every": 0}, {"backbone": "vit_pico", "resolution": 64, "window": null, "global_every": 0}], "interaction": {"count": 0, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "start"}}','{"published": {"macs": 6367104, "params": 877128, "kept": 124272}, "backbone": {"macs": 9015296, "params": 1107874, "kept": 127856}}','2026-11-29 01:30:13.468092',1);
INSERT INTO "proposal" VALUES(10,2,3,1,'c6a4a132cdfac6b9','vit_nano@32:w4+vit_pico@128:w4*1','44cc2427272f96ea','{"number": 1, "architecture": {"branches": [{"backbone": "vit_nano", "resolution": 32, "window": 4, "global_every": 0}, {"backbone": "vit_pico", "resolution": 128, "window": 4, "global_every": 0}], "interaction": {"count": 1, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "start"}}','{"published": {"macs": 20976960, "params": 945840, "kept": 546936}, "backbone": {"macs": 29959776, "params": 1173514, "kept": 556664}}','2026-11-29 01:30:13.477951',1);
INSERT INTO "proposal" VALUES(11,2,5,2,'1333873370c1fa97','vit_nano@32:w4+vit_pico@64:g*1','52e16a9b90396fc2','{"number": 2, "architecture": {"branches": [{"backbone": "vit_nano", "resolution": 32, "window": 4, "global_every": 0}, {"backbone": "vit_pico", "resolution": 64, "window": null, "global_every": 0}], "interaction": {"count": 1, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "start"}}','{"published": {"macs": 7022400, "params": 942768, "kept": 205016}, "backbone": {"macs": 9794400, "params": 1173514, "kept": 208600}}','2026-11-29 01:30:13.489820',1);
INSERT INTO "proposal" VALUES(12,2,7,3,'235ba37abc2dc96f','vit_micro@32:w4+vit_nano@64:w4+vit_pico@128:w4*2','bffc357472401bfb','{"number": 3, "architecture": {"branches": [{"backbone": "vit_micro", "resolution": 32, "window": 4, "global_every": 0}, {"backbone": "vit_nano", "resolution": 64, "window": 4, "global_every": 0}, {"backbone": "vit_pico", "resolution": 128, "window": 4, "global_every": 0}], "interaction": {"count": 2, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "start"}}','{"published": {"macs": 36382720, "params": 2172072, "kept": 1022512}, "backbone": {"macs": 54783744, "params": 2846691, "kept": 1041456}}','2026-11-29 01:30:13.501989',1);
INSERT INTO "proposal" VALUES(13,2,9,4,'e2336d0ed8bce4ed','vit_nano@32:w4+vit_pico@96:g*2','2e3fa20a4e617c66','{"number": 4, "architecture": {"branches": [{"backbone": "vit_nano", "resolution": 32, "window": 4, "global_every": 0}, {"backbone": "vit_pico", "resolution": 96, "window": null, "global_every": 0}], "interaction": {"count": 2, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "gain", "tier": 0.02, "gain": 0.06758680545146213, "left": {"0.02": 0.06829634535561935, "0.06": 0.019847224968941098}, "predicted": [0.40077711603216903, 0.3973762274174857, 0.4042136259150575]}}','{"published": {"macs": 14404352, "params": 1009688, "kept": 420608}, "backbone": {"macs": 19718464, "params": 1239154, "kept": 426752}}','2026-11-29 01:30:13.820598',1);
INSERT INTO "proposal" VALUES(14,2,11,5,'a19c52dc1de517ed','vit_nano@96:w4+vit_pico@128:g*2','8f05d1a892fdb9a9','{"number": 5, "architecture": {"branches": [{"backbone": "vit_nano", "resolution": 96, "window": 4, "global_every": 0}, {"backbone": "vit_pico", "resolution": 128, "window": null, "global_every": 0}], "interaction": {"count": 2, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "gain", "tier": 0.06, "gain": 0.016442542550120245, "left": {"0.02": 0.0023969025972632903, "0.06": 0.023252992397422824}, "predicted": [0.5675146395036701, 0.550610838322903, 0.5847847312066389]}}','{"published": {"macs": 43992832, "params": 1014552, "kept": 995888}, "backbone": {"macs": 58249920, "params": 1239154, "kept": 1017904}}','2026-11-29 01:30:14.066150',1);
INSERT INTO "proposal" VALUES(15,2,13,6,'c4c33f80a8c7d781','vit_pico@32:g','5a804961b70aca2e','{"number": 6, "architecture": {"branches": [{"backbone": "vit_pico", "resolution": 32, "window": null, "global_every": 0}], "interaction": {"count": 0, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "gain", "tier": 0.02, "gain": 0.071274026807797, "left": {"0.02": 0.08520838635177727, "0.06": 0.07083457825031889}, "predicted": [0.4341806506207021, 0.3769653466505456, 0.4931733531208171]}}','{"published": {"macs": 1060096, "params": 315112, "kept": 21600}, "backbone": {"macs": 991232, "params": 262208, "kept": 21600}}','2026-11-29 01:30:14.250951',1);
INSERT INTO "proposal" VALUES(16,2,15,7,'37aa8320b08a88ec','vit_micro@32:w4+vit_nano@64:w4+vit_pico@96:w4*2','2d92b836a760baba','{"number": 7, "architecture": {"branches": [{"backbone": "vit_micro", "resolution": 32, "window": 4, "global_every": 0}, {"backbone": "vit_nano", "resolution": 64, "window": 4, "global_every": 0}, {"backbone": "vit_pico", "resolution": 96, "window": 4, "global_every": 0}], "interaction": {"count": 2, "heads": 16, "points": 4}, "merge": "conv"}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0}, "seed": 0, "parent": null, "why": {"source": "gain", "tier": 0.06, "gain": 0.036674067122755616, "left": {"0.02": 0.07555530396873468, "0.06": 0.055171612273965026}, "predicted": [0.5122271504262824, 0.4209067412576881, 0.5943562025009537]}}','{"published": {"macs": 27368960, "params": 2170280, "kept": 821024}, "backbone": {"macs": 40145792, "params": 2846691, "kept": 834592}}','2026-11-29 01:30:14.437595',1);
CREATE TABLE search (
	id INTEGER NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	question VARCHAR(16) NOT NULL, 
	recipe VARCHAR(16) NOT NULL, 
	spec JSON NOT NULL, 
	created_at DATETIME NOT NULL, uid VARCHAR(32) DEFAULT '' NOT NULL, data VARCHAR(64) DEFAULT '' NOT NULL, audit_of VARCHAR(32), 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "search" VALUES(1,'random','1fb0f4180044d7b6','recipe','{"name": "random", "task": "detection", "metric": "bbox_mAP", "seed": 0, "sampler": "random", "prior": null, "space": {"backbones": ["vit_micro", "vit_nano", "vit_pico"], "resolutions": [32, 64, 96, 128], "windows": ["global", 4], "interactions": [0, 1, 2], "branches": [1, 2, 3], "merges": null, "attention": ["deformable"], "direction": ["both"], "projection": [true], "norm": [true], "heads": 16, "points": 4, "patch": null, "pairing": "inverted", "steps": null, "whole_windows": false, "pretraining_grid": false, "padding": null}, "limit": {"gmacs": [0.02, 0.06], "convention": "backbone", "mparams": null}, "budget": {"trials": 12, "hours": null, "gpu_hours": null, "target": null, "least_gain": null}, "data": {"embedded": "digits", "root": null, "train": null, "val": null}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0, "horizon": null, "seeds": 1}, "schedule": null, "training": {"detector": "retinanet", "channels": 256, "batch_size": 8, "learning_rate": 0.0001, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0, "flip": 0.5, "scale_jitter": null, "colour_jitter": false, "short_side": 1.0, "loader_workers": 0, "cache_mib": 256, "val_images": null, "measure_every": null, "inherit": false, "max_detections": 100, "anchor_scale": null, "threads": 1, "pretrained": null, "layer_decay": 1.0, "precision": "float32", "checkpointing": false, "cuda_graphs": false}, "resources": {"cpu": 1.0, "gpu": 0.0, "gpu_memory": null, "custom": {}, "at_once": null, "reuse_actors": true, "retries": 3}}','2026-11-29 01:30:13.258638','ad8d18a7c2be1fd65212eb3b9d00ce6f','',NULL);
INSERT INTO "search" VALUES(2,'piip','ad8e6231e7a3a9d6','recipe','{"name": "piip", "task": "detection", "metric": "bbox_mAP", "seed": 0, "sampler": "piip", "prior": null, "space": {"backbones": ["vit_micro", "vit_nano", "vit_pico"], "resolutions": [32, 64, 96, 128], "windows": ["global", 4], "interactions": [0, 1, 2], "branches": [1, 2, 3], "merges": null, "attention": ["deformable"], "direction": ["both"], "projection": [true], "norm": [true], "heads": 16, "points": 4, "patch": null, "pairing": "inverted", "steps": null, "whole_windows": false, "pretraining_grid": false, "padding": null}, "limit": {"gmacs": [0.02, 0.06], "convention": "backbone", "mparams": null}, "budget": {"trials": 12, "hours": null, "gpu_hours": null, "target": null, "least_gain": null}, "data": {"embedded": "digits", "root": null, "train": null, "val": null}, "fidelity": {"epochs": 12, "data_fraction": 1.0, "image_scale": 1.0, "horizon": null, "seeds": 1}, "schedule": null, "training": {"detector": "retinanet", "channels": 256, "batch_size": 8, "learning_rate": 0.0001, "weight_decay": 0.05, "warmup": 0.1, "clip_norm": 1.0, "flip": 0.5, "scale_jitter": null, "colour_jitter": false, "short_side": 1.0, "loader_workers": 0, "cache_mib": 256, "val_images": null, "measure_every": null, "inherit": false, "max_detections": 100, "anchor_scale": null, "threads": 1, "pretrained": null, "layer_decay": 1.0, "precision": "float32", "checkpointing": false, "cuda_graphs": false}, "resources": {"cpu": 1.0, "gpu": 0.0, "gpu_memory": null, "custom": {}, "at_once": null, "reuse_actors": true, "retries": 3}}','2026-11-29 01:30:13.446257','bacf09ae897557938bc061d5a1ce55f1','',NULL);
CREATE TABLE sitting (
	id INTEGER NOT NULL, 
	search_id INTEGER NOT NULL, 
	number INTEGER NOT NULL, 
	began_at DATETIME NOT NULL, 
	host VARCHAR(255) NOT NULL, 
	process INTEGER NOT NULL, 
	revision VARCHAR(80) NOT NULL, 
	versions JSON NOT NULL, 
	PRIMARY KEY (id), 
	UNIQUE (search_id, number), 
	FOREIGN KEY(search_id) REFERENCES search (id)
);
INSERT INTO "sitting" VALUES(1,1,1,'2026-11-29 01:30:13.284670','',0,'','{}');
INSERT INTO "sitting" VALUES(2,2,1,'2026-11-29 01:30:13.457795','',0,'','{}');
CREATE INDEX ix_proposal_key ON proposal ("key");
CREATE INDEX ix_proposal_fingerprint ON proposal (fingerprint);
CREATE INDEX ix_proposal_search_id ON proposal (search_id);
CREATE INDEX ix_evaluation_search_id ON evaluation (search_id);
CREATE INDEX ix_evaluation_key ON evaluation ("key");
CREATE UNIQUE INDEX search_uid ON search (uid);
CREATE INDEX ix_sitting_search_id ON sitting (search_id);
CREATE INDEX ix_promotion_search_id ON promotion (search_id);
CREATE INDEX ix_front_search_id ON front (search_id);
CREATE TRIGGER search_no_update BEFORE UPDATE ON search BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER search_no_delete BEFORE DELETE ON search BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER sitting_no_update BEFORE UPDATE ON sitting BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER sitting_no_delete BEFORE DELETE ON sitting BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER proposal_no_update BEFORE UPDATE ON proposal BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER proposal_no_delete BEFORE DELETE ON proposal BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER evaluation_no_update BEFORE UPDATE ON evaluation BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER evaluation_no_delete BEFORE DELETE ON evaluation BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER promotion_no_update BEFORE UPDATE ON promotion BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER promotion_no_delete BEFORE DELETE ON promotion BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER front_no_update BEFORE UPDATE ON front BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER front_no_delete BEFORE DELETE ON front BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
COMMIT;
