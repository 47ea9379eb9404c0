-- Sessions that log an ALTER TABLE when it begins and again when it ends.
CREATE DATABASE phases;
USE phases;
CREATE TABLE t (id int PRIMARY KEY, x int);
INSERT INTO t VALUES (1, 1), (2, 1);
SET SESSION binlog_alter_two_phase = 1;
ALTER TABLE t ADD COLUMN y int, ALGORITHM=COPY;
INSERT INTO t VALUES (3, 2, 3);

-- It fails after it has begun: two rows have the same x.
DELIMITER //
BEGIN NOT ATOMIC
	DECLARE CONTINUE HANDLER FOR SQLEXCEPTION BEGIN END;
	ALTER TABLE t ADD UNIQUE KEY x (x), ALGORITHM=COPY;
END //
DELIMITER ;
INSERT INTO t VALUES (4, 2, 3);
ALTER TABLE t DROP COLUMN x, ALGORITHM=INPLACE;
SET SESSION binlog_alter_two_phase = 0;
ALTER TABLE t COMMENT = 'at once';
INSERT INTO t VALUES (5, 4);
