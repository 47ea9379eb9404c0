-- Two-phase transactions: the log has their rows when they are prepared, before their outcome is known.
CREATE DATABASE xa;
USE xa;
CREATE TABLE t (id int PRIMARY KEY, v int);
INSERT INTO t VALUES (1, 0), (2, 0), (3, 0);

-- Prepared, then committed after another session's transaction. CONNECT leaves the prepared one to the server.
XA START 'first', 'branch', 7;
UPDATE t SET v = 1 WHERE id = 1;
XA END 'first', 'branch', 7;
XA PREPARE 'first', 'branch', 7;
CONNECT xa;
UPDATE t SET v = 2 WHERE id = 2;
XA COMMIT 'first', 'branch', 7;

-- Prepared, then rolled back.
XA START 'second';
UPDATE t SET v = 3 WHERE id = 3;
INSERT INTO t VALUES (4, 4);
XA END 'second';
XA PREPARE 'second';
CONNECT xa;
UPDATE t SET v = 5 WHERE id = 2;
XA ROLLBACK 'second';

-- In one phase it is like any other. Rolled back before it is prepared, it leaves nothing.
XA START 'third';
INSERT INTO t VALUES (5, 5);
XA END 'third';
XA COMMIT 'third' ONE PHASE;
XA START 'fourth';
INSERT INTO t VALUES (6, 6);
XA END 'fourth';
XA ROLLBACK 'fourth';
INSERT INTO t VALUES (7, 7);
