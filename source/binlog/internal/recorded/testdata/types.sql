-- Each column type with its ordinary and its extreme values, NULL, and each kind of key.
SET sql_mode = '';
CREATE DATABASE types;
USE types;

CREATE TABLE number (id bigint unsigned PRIMARY KEY,
	i8 tinyint, u8 tinyint unsigned, i16 smallint, u16 smallint unsigned, i24 mediumint, u24 mediumint unsigned,
	i32 int, u32 int unsigned, i64 bigint, u64 bigint unsigned, flag boolean,
	d decimal(30,10), d5 decimal(5,0), ud decimal(6,2) unsigned, f float, db double, b1 bit(1), b13 bit(13), b64 bit(64));
INSERT INTO number VALUES
	(18446744073709551615, 127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807, 18446744073709551615, 1,
		12345678901234567890.0123456789, 99999, 9999.99, 1.5, 2.5e300, b'1', b'1010101010101', 0xffffffffffffffff),
	(0, -128, 0, -32768, 0, -8388608, 0, -2147483648, 0, -9223372036854775808, 0, 0,
		-12345678901234567890.0123456789, -99999, 0, -1.5e-30, -2.5e-300, b'0', b'0', 0),
	(9223372036854775808, 1, 128, 1, 32768, 1, 8388608, 1, 2147483648, 1, 9223372036854775808, 1,
		0.0000000001, 7, 0.05, 16777216, 0.1, b'1', b'1', 0x8000000000000000),
	(1, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE moment (id int PRIMARY KEY, d date, dt datetime, dt3 datetime(3), dt6 datetime(6),
	ts timestamp NULL, ts3 timestamp(3) NULL, ts6 timestamp(6) NULL, t time, t2 time(2), t6 time(6), y year);
INSERT INTO moment VALUES
	(1, '2024-02-29', '2024-02-29 23:59:59', '2024-02-29 23:59:59.123', '2024-02-29 23:59:59.123456',
		'2024-01-02 03:04:05', '2024-01-02 03:04:05.678', '2024-01-02 03:04:05.678901', '01:02:03', '01:02:03.45', '01:02:03.456789', 2024),
	(2, '0000-00-00', '0000-00-00 00:00:00', '2024-00-00 01:02:03.004', '2024-02-00 01:02:03.000009',
		'0000-00-00 00:00:00', '1970-01-01 00:00:01.000', '2038-01-19 03:14:07.999999', '-838:59:59', '-838:59:58.99', '-00:00:00.000001', 0),
	(3, '9999-12-31', '9999-12-31 23:59:59', '1000-01-01 00:00:00', '0001-01-01 00:00:00.000001',
		'1970-01-01 00:00:01', '2024-03-31 02:30:00.000', '2024-10-27 02:30:00.000001', '838:59:59', '00:00:00', '-12:34:56.789', 2155),
	(4, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

-- The same words in each character set.
CREATE TABLE words (id int PRIMARY KEY,
	c4 char(8) CHARACTER SET utf8mb4, v4 varchar(300) CHARACTER SET utf8mb4, v4bin varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
	v3 varchar(20) CHARACTER SET utf8mb3, a varchar(20) CHARACTER SET ascii, l1 varchar(20) CHARACTER SET latin1, l2 varchar(20) CHARACTER SET latin2,
	c1251 varchar(20) CHARACTER SET cp1251, koi varchar(20) CHARACTER SET koi8r, gbk varchar(20) CHARACTER SET gbk, gb2312 varchar(20) CHARACTER SET gb2312,
	big5 varchar(20) CHARACTER SET big5, sjis varchar(20) CHARACTER SET sjis, cp932 varchar(20) CHARACTER SET cp932, ujis varchar(20) CHARACTER SET ujis,
	euckr varchar(20) CHARACTER SET euckr, ucs2 varchar(20) CHARACTER SET ucs2, u16 varchar(20) CHARACTER SET utf16, u16le varchar(20) CHARACTER SET utf16le,
	u32 varchar(20) CHARACTER SET utf32, tt tinytext CHARACTER SET latin1, tx text CHARACTER SET utf8mb4, mt mediumtext CHARACTER SET gbk, lt longtext CHARACTER SET sjis);
INSERT INTO words VALUES
	(1, 'é😀', '日本😀', 'A', 'é', 'plain', 'é€', 'řž', 'Ж', 'Ж', '中文', '中文', '中文', '日本', '日本', '日本', '한국', '日本', '日本😀', '日本😀', '日本😀',
		'é', '日本😀', '中文', '日本'),
	(2, 'ab  ', '', 'a', '', 'a b ', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', '', ''),
	(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

-- Character sets that few programs know.
CREATE TABLE rare (id int PRIMARY KEY, swe varchar(20) CHARACTER SET swe7, hp varchar(20) CHARACTER SET hp8, geo varchar(20) CHARACTER SET geostd8);
INSERT INTO rare VALUES (1, 'Å', 'é', 'ა');

CREATE TABLE bytes (id int PRIMARY KEY, bin binary(5), vb varbinary(10), tb tinyblob, bl blob, mb mediumblob, lb longblob,
	j json, uu uuid, ip6 inet6, ip4 inet4, g point, long_bin binary(255));
INSERT INTO bytes VALUES
	(1, 'ab', 'cd', '\0\1', '\0\0', 0xfffe, 0xff00, '{"a": [1, 2.50, null, "ü"]}', '123e4567-e89b-12d3-a456-426655440000', '2001:db8::1', '192.0.2.1', point(1, 2), 'x'),
	(2, 'ab\0c', 'cd\0', '', '', '', '', '"text"', '00000000-0000-0000-0000-000000000000', '::', '0.0.0.0', point(-1.5, 0), ''),
	(3, '', 'cd ', repeat('\0', 255), repeat('b', 70000), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE choice (id int PRIMARY KEY, e enum('a', 'ü', 'z') CHARACTER SET utf8mb4, el enum('é', 'b') CHARACTER SET latin1,
	s set('x', 'y', 'w') CHARACTER SET utf8mb4,
	s64 set('0','1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16','17','18','19','20','21','22','23','24','25','26','27','28','29','30','31',
		'32','33','34','35','36','37','38','39','40','41','42','43','44','45','46','47','48','49','50','51','52','53','54','55','56','57','58','59','60','61','62','63'));
INSERT INTO choice VALUES (1, 'ü', 'é', 'x,w', '0,63'), (2, 'bad', 'b', '', ''), (3, NULL, NULL, NULL, NULL);

CREATE TABLE made (id int PRIMARY KEY, a int, stored int AS (a + 1) STORED, virt int AS (a + 2) VIRTUAL, hidden int INVISIBLE DEFAULT 7, last int);
INSERT INTO made (id, a, last) VALUES (1, 10, 3), (2, NULL, NULL);
UPDATE made SET a = 20 WHERE id = 1;

-- Keys: composite, nullable, by prefix, by a collation that ignores case and accents, of a generated column, none.
CREATE TABLE pair (b int, a int, v int, PRIMARY KEY (a, b));
CREATE TABLE nullable (a int, b int, UNIQUE KEY b (b), UNIQUE KEY ab (a, b));
CREATE TABLE prefix (t varchar(200) NOT NULL, v int, PRIMARY KEY (t(3)));
CREATE TABLE folded (name varchar(20) COLLATE utf8mb4_general_ci PRIMARY KEY, exact varchar(20) COLLATE utf8mb4_bin NOT NULL UNIQUE);
CREATE TABLE generated (id int PRIMARY KEY, name varchar(20), folded varchar(20) AS (lower(name)) VIRTUAL UNIQUE);
CREATE TABLE keyless (a int, b int);
INSERT INTO pair VALUES (1, 2, 3), (2, 1, 4);
INSERT INTO nullable VALUES (1, NULL), (1, NULL), (NULL, 1), (2, 2);
INSERT INTO prefix VALUES ('abcdef', 1), ('xyz', 2);
INSERT INTO folded VALUES ('Émile', 'a'), ('Zoe', 'A');
INSERT INTO generated (id, name) VALUES (1, 'Anna'), (2, NULL);
INSERT INTO keyless VALUES (1, 1), (1, 1);
UPDATE pair SET b = 9 WHERE a = 2;
UPDATE nullable SET b = 3 WHERE b = 2;
UPDATE prefix SET t = 'abcxyz' WHERE v = 1;
DELETE FROM folded WHERE name = 'emile';
INSERT INTO folded VALUES ('EMILE', 'b');
UPDATE generated SET name = 'ANNA' WHERE id = 1;
DELETE FROM keyless LIMIT 1;

UPDATE number SET u8 = 3 WHERE id = 18446744073709551615;
UPDATE words SET l1 = 'ü' WHERE id = 1;
DELETE FROM bytes WHERE id = 2;
DELETE FROM moment WHERE id = 2;
