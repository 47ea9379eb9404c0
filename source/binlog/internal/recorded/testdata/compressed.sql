-- Events above 10 bytes are compressed: rows of all kinds, and statements.
SET GLOBAL log_bin_compress = ON, GLOBAL log_bin_compress_min_len = 10;
CONNECT mysql;
CREATE DATABASE compressed;
USE compressed;
CREATE TABLE t (id int PRIMARY KEY, v varchar(200) NOT NULL, UNIQUE KEY v (v));
INSERT INTO t SELECT seq, concat(repeat('a', 100), seq) FROM seq_1_to_500;
UPDATE t SET v = concat(repeat('b', 100), id) WHERE id <= 100;
DELETE FROM t WHERE id > 400;
BEGIN;
INSERT INTO t VALUES (1000, repeat('c', 200));
UPDATE t SET id = 1001 WHERE id = 1000;
COMMIT;
ALTER TABLE t ADD COLUMN note varchar(100) DEFAULT 'a default that is long enough to be compressed, because it repeats and repeats and repeats';
INSERT INTO t (id, v) VALUES (2000, 'd');
SET GLOBAL log_bin_compress = OFF;
CONNECT compressed;
INSERT INTO t (id, v) VALUES (2001, 'not compressed');
