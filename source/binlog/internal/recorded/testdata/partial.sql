-- Sessions that do not log whole rows, though the server's settings are right.
CREATE DATABASE partial;
USE partial;
CREATE TABLE t (id int PRIMARY KEY, a int, b varchar(20), c text);
CREATE TABLE whole (id int PRIMARY KEY, a int);
INSERT INTO t VALUES (1, 1, 'one', 'eins'), (2, 2, 'two', 'zwei'), (3, NULL, NULL, NULL);
INSERT INTO whole VALUES (1, 1);

SET SESSION binlog_row_image = MINIMAL;
UPDATE t SET a = 10 WHERE id = 1;
INSERT INTO t (id, a) VALUES (4, 4);
DELETE FROM t WHERE id = 4;
SET SESSION binlog_row_image = NOBLOB;
UPDATE t SET a = 20 WHERE id = 2;
SET SESSION binlog_row_image = FULL;
INSERT INTO whole VALUES (2, 2);
UPDATE t SET a = 30 WHERE id = 3;

SET SESSION binlog_format = STATEMENT;
UPDATE t SET a = a + 1;
BEGIN;
INSERT INTO t VALUES (5, 5, 'five', 'fünf');
DELETE FROM t WHERE id = 5;
COMMIT;
SET @x = 6;
INSERT INTO t VALUES (@x, rand(), 'six', 'sechs');
SET SESSION binlog_format = MIXED;
INSERT INTO t VALUES (7, 7, uuid_short(), 'sieben');
UPDATE t SET a = 8 WHERE id = 7;
SET SESSION binlog_format = ROW;
INSERT INTO whole VALUES (3, 3);
UPDATE t SET a = 40 WHERE id = 3;

-- Annotated rows, and a change that is not logged at all.
SET SESSION binlog_annotate_row_events = OFF;
UPDATE t SET a = 41 WHERE id = 3;
SET SESSION binlog_annotate_row_events = ON;
SET SESSION sql_log_bin = OFF;
UPDATE whole SET a = 99 WHERE id = 3;
SET SESSION sql_log_bin = ON;
DELETE FROM whole WHERE id = 3;
