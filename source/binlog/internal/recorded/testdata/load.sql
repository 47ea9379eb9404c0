-- LOAD DATA, logged as rows and as a statement.
SET sql_mode = '';
CREATE DATABASE loading;
USE loading;
CREATE TABLE t (id int PRIMARY KEY, a varchar(10));
CREATE TABLE other (id int PRIMARY KEY);
INSERT INTO t VALUES (1, 'a'), (2, 'b');
SELECT id + 10, a INTO OUTFILE 'rows.txt' FROM t;
LOAD DATA INFILE 'rows.txt' INTO TABLE t;
SET SESSION binlog_format = STATEMENT;
SELECT id + 100, a INTO OUTFILE 'more.txt' FROM t;
LOAD DATA INFILE 'more.txt' IGNORE INTO TABLE `loading`.`t` FIELDS TERMINATED BY '\t' (id, a);
SET SESSION binlog_format = ROW;
INSERT INTO t VALUES (1000, 'z');
INSERT INTO other VALUES (1);
