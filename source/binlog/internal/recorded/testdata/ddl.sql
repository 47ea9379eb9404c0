-- Tables change: what a reader has to hand out in its place, and names that are hard to read.
SET sql_mode = '';
CREATE DATABASE shop;
CREATE DATABASE other;
USE shop;
CREATE TABLE orders (id int PRIMARY KEY, item varchar(20), amount int);
CREATE TABLE customer (id int PRIMARY KEY, name varchar(20));
CREATE TABLE other.unrelated (id int PRIMARY KEY, v int);
INSERT INTO orders VALUES (1, 'pen', 3), (2, 'ink', 1);
INSERT INTO customer VALUES (1, 'Ann');
INSERT INTO other.unrelated VALUES (1, 1);

-- A column, a key, a type, a place.
ALTER TABLE customer ADD COLUMN mail varchar(40);
INSERT INTO customer VALUES (2, 'Bob', 'bob@example.com');
ALTER TABLE customer ADD UNIQUE KEY mail (mail);
UPDATE customer SET mail = 'ann@example.com' WHERE id = 1;
CREATE UNIQUE INDEX name ON customer (name);
INSERT INTO customer VALUES (3, 'Cid', NULL);
ALTER TABLE customer MODIFY COLUMN name varchar(60) AFTER mail, DROP INDEX mail;
INSERT INTO customer VALUES (4, 'dan@example.com', 'Dan');
ALTER TABLE customer RENAME COLUMN name TO full_name;
UPDATE customer SET full_name = 'Dora' WHERE id = 4;

-- A copy takes the place of the table, as gh-ost does it.
/* gh-ost */ CREATE TABLE `shop`.`_orders_gho` LIKE `shop`.`orders`;
ALTER TABLE `shop`.`_orders_gho` ADD COLUMN note text, DROP COLUMN item;
INSERT IGNORE INTO `shop`.`_orders_gho` (id, amount) SELECT id, amount FROM `shop`.`orders`;
INSERT INTO orders VALUES (3, 'cap', 2);
INSERT INTO `shop`.`_orders_gho` (id, amount) VALUES (3, 2);
RENAME /* gh-ost */ TABLE `shop`.`orders` TO `shop`.`_orders_del`, `shop`.`_orders_gho` TO `shop`.`orders`;
INSERT INTO orders VALUES (4, 5, 'new');
DROP TABLE IF EXISTS `shop`.`_orders_del`;
UPDATE orders SET note = 'old' WHERE id = 1;

-- The same name, other columns, within one reader's run.
DROP TABLE customer;
CREATE TABLE customer (code char(3) PRIMARY KEY, since date);
INSERT INTO customer VALUES ('abc', '2024-01-01');
CREATE OR REPLACE TABLE customer (n int, code varchar(3), PRIMARY KEY (code));
INSERT INTO customer VALUES (1, 'abc');
TRUNCATE TABLE customer;
INSERT INTO customer VALUES (2, 'abc');

-- Ways to write it.
USE other;
CREATE TABLE here (id int PRIMARY KEY);
INSERT INTO here VALUES (1);
alter   table
	shop . orders -- the table of another database
	add column x int # the end
	;
ALTER TABLE here RENAME TO shop.there;
USE shop;
INSERT INTO there VALUES (2);
CREATE TABLE filled (PRIMARY KEY (id)) AS SELECT id, amount FROM orders;
CREATE TABLE `we``ird. table` (`a``b` int PRIMARY KEY, `ü.ö` int);
INSERT INTO `we``ird. table` VALUES (1, 2);
SET sql_mode = 'ANSI_QUOTES';
ALTER TABLE "we`ird. table" ADD COLUMN "c""d" int;
INSERT INTO "we`ird. table" VALUES (2, 3, 4);
SET sql_mode = '';
ALTER TABLE orders COMMENT = 'DROP TABLE customer; RENAME TABLE a TO b';
/*!40000 ALTER TABLE orders DISABLE KEYS */;
/*M!100100 ALTER TABLE orders ADD COLUMN y int */;
INSERT INTO orders (id) VALUES (9);
CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20));
INSERT INTO parts VALUES (1), (11);
ALTER TABLE parts TRUNCATE PARTITION p0;
ALTER TABLE parts EXCHANGE PARTITION p0 WITH TABLE there;

-- What changes no rows of a table, or is none.
CREATE VIEW cheap AS SELECT * FROM orders WHERE amount < 3;
CREATE TRIGGER stamp BEFORE INSERT ON orders FOR EACH ROW SET NEW.note = 'by trigger';
CREATE PROCEDURE nothing () SELECT 1;
CREATE SEQUENCE numbers;
SELECT NEXTVAL(numbers);
CREATE TEMPORARY TABLE scratch (a int);
INSERT INTO scratch VALUES (1);
DROP TEMPORARY TABLE scratch;
CREATE USER reader;
GRANT SELECT ON shop.* TO reader;
ANALYZE TABLE orders;
INSERT INTO orders (id) VALUES (10);
ALTER DATABASE shop CHARACTER SET latin1;
DROP VIEW cheap;
DROP TABLE there, filled;

-- All tables of a database at once, and the database again.
DROP DATABASE other;
CREATE DATABASE other;
CREATE TABLE other.unrelated (name varchar(10) PRIMARY KEY);
INSERT INTO other.unrelated VALUES ('again');
INSERT INTO orders (id) VALUES (11);
