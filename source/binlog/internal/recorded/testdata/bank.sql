-- Money moves between accounts: transactions over two tables, savepoints, updates that change a primary or a unique key, deletes,
-- a table that stays idle. The sum of all balances is 2000.00 at the end of each transaction.
CREATE DATABASE bank;
USE bank;
CREATE TABLE account (id int PRIMARY KEY, name varchar(20) NOT NULL, balance decimal(12,2) NOT NULL, UNIQUE KEY name (name));
CREATE TABLE transfer (n bigint unsigned PRIMARY KEY, payer int NOT NULL, payee int NOT NULL, amount decimal(12,2) NOT NULL, at datetime(3) NOT NULL);
CREATE TABLE branch (city varchar(20), street varchar(40));
INSERT INTO branch VALUES ('Bern', 'Marktgasse'), ('Basel', NULL);
INSERT INTO account SELECT seq, concat('a', seq), 100 FROM seq_1_to_20;

DELIMITER //
BEGIN NOT ATOMIC
	FOR i IN 1..60 DO
		SET @payer = 1 + (i * 7) % 20, @payee = 1 + (i * 7 + i % 19 + 1) % 20;
		START TRANSACTION;
		UPDATE account SET balance = balance - 1.25 WHERE id = @payer;
		INSERT INTO transfer VALUES (i, @payer, @payee, 1.25, now(3));
		IF i % 6 = 0 THEN
			SAVEPOINT paid;
			UPDATE account SET balance = balance + 9 WHERE id = @payee;
			ROLLBACK TO SAVEPOINT paid;
		END IF;
		UPDATE account SET balance = balance + 1.25 WHERE id = @payee;
		COMMIT;
	END FOR;
END//
DELIMITER ;

FLUSH BINARY LOGS;

-- A primary key changes, and its old value is used again.
UPDATE account SET id = 101 WHERE id = 1;
INSERT INTO account VALUES (1, 'b1', 0);
-- Two rows exchange their unique values, by way of a third value.
BEGIN;
UPDATE account SET name = 'swap' WHERE id = 2;
UPDATE account SET name = 'a2' WHERE id = 3;
UPDATE account SET name = 'a3' WHERE id = 2;
COMMIT;
-- A unique value moves from a deleted row to a new one.
BEGIN;
UPDATE account SET balance = balance + (SELECT balance FROM (SELECT balance FROM account WHERE id = 4) AS gone) WHERE id = 5;
DELETE FROM account WHERE id = 4;
INSERT INTO account VALUES (104, 'a4', 0);
COMMIT;
-- Both keys change, and nothing else.
UPDATE account SET id = id + 200, name = concat(name, 'x') WHERE id BETWEEN 6 AND 8;
-- A savepoint that is not used, one that is rolled back, rows of a statement that failed and is not in the log.
BEGIN;
INSERT INTO transfer VALUES (1001, 9, 10, 5, now(3));
SAVEPOINT one;
UPDATE account SET balance = balance - 5 WHERE id = 9;
SAVEPOINT two;
DELETE FROM transfer WHERE n < 1000;
ROLLBACK TO SAVEPOINT two;
UPDATE account SET balance = balance + 5 WHERE id = 10;
RELEASE SAVEPOINT one;
COMMIT;
BEGIN;
DELETE FROM account WHERE id = 11;
ROLLBACK;
-- Many rows in one statement, then in one transaction.
DELETE FROM transfer WHERE n <= 20;
BEGIN;
INSERT INTO transfer SELECT 2000 + seq, 12, 13, 0, now(3) FROM seq_1_to_100;
DELETE FROM transfer WHERE n BETWEEN 2001 AND 2050;
COMMIT;

DELIMITER //
BEGIN NOT ATOMIC
	FOR i IN 61..100 DO
		SET @payer = 12 + i % 8, @payee = 12 + (i + 3) % 8;
		START TRANSACTION;
		INSERT INTO transfer VALUES (i, @payer, @payee, 2.5, now(3));
		UPDATE account SET balance = balance - 2.5 WHERE id = @payer;
		UPDATE account SET balance = balance + 2.5 WHERE id = @payee;
		COMMIT;
	END FOR;
END//
DELIMITER ;
