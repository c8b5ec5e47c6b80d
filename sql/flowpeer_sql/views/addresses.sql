-- Addresses as text: ip, ip_str, ip_in, ip_is4
--
-- The lake keeps an address as 16 octets, big-endian, IPv4 mapped into IPv6 (RFC 4291, 2.5.5.2).
--   ip(text)          the 16 octets of an address written as text; an error where it is none
--   ip_str(addr)      its canonical text (RFC 5952): 192.0.2.1, 2001:db8::1
--   ip_in(addr, cidr) whether the address lies in 192.0.2.0/24 or 2001:db8::/32; bits after the
--                     length are ignored, no length means one address; skips files like any range
--   ip_is4(addr)      whether it is an IPv4 address
--
-- Macros are pasted where they are called, each argument as often as the body names it. A body
-- that names one often takes it through `list_transform([x], lambda y: …)[1]`, once.

-- A cast that always fails, with the fault in its message. error() would do, but an expression with
-- error() in it is never folded to a constant, and then no file is skipped by it.
CREATE OR REPLACE MACRO _refuse(fault) AS CAST(fault AS BIGINT)::VARCHAR;

-- Octets of dotted IPv4 as 8 hexadecimal digits, NULL where the text is none.
CREATE OR REPLACE MACRO _ip4_hex(text) AS
    CASE WHEN regexp_full_match(text, '((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}'
        '(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])')
    THEN printf('%02X%02X%02X%02X',
        TRY_CAST(split_part(text, '.', 1) AS INTEGER), TRY_CAST(split_part(text, '.', 2) AS INTEGER),
        TRY_CAST(split_part(text, '.', 3) AS INTEGER), TRY_CAST(split_part(text, '.', 4) AS INTEGER)
    ) END;

-- IPv6 with its last two groups in hexadecimal too, where they are dotted.
CREATE OR REPLACE MACRO _ip6_plain(text) AS
    CASE WHEN contains(text, '.')
    THEN regexp_replace(text, '[^:]*$', '') || regexp_replace(
        _ip4_hex(regexp_extract(text, '[^:]*$')), '(....)(....)', '\1:\2')
    ELSE text END;

-- Eight groups for `::` and those around it; unchanged without `::`. Groups that are too many make
-- repeat() empty, and the check of the eight groups fails.
CREATE OR REPLACE MACRO _ip6_full(plain) AS
    CASE WHEN plain = '::' THEN '0:0:0:0:0:0:0:0'
    ELSE list_transform([8 - len(regexp_extract_all(plain, '[^:]+'))], lambda zeros:
        CASE WHEN zeros < 1 THEN plain
        WHEN plain LIKE '::%' THEN repeat('0:', zeros) || plain[3:]
        WHEN plain LIKE '%::' THEN plain[:-3] || repeat(':0', zeros)
        ELSE replace(plain, '::', ':' || repeat('0:', zeros)) END)[1] END;

-- Eight groups as 32 hexadecimal digits, NULL where they are not eight.
CREATE OR REPLACE MACRO _ip6_hex(groups) AS
    CASE WHEN regexp_full_match(groups, '[0-9A-Fa-f]{1,4}(:[0-9A-Fa-f]{1,4}){7}')
    THEN upper(regexp_replace(
        ':000' || replace(groups, ':', ':000'), ':0{0,3}([0-9A-Fa-f]{4})', '\1', 'g')) END;

-- Any address as 32 hexadecimal digits.
CREATE OR REPLACE MACRO _ip_hex(text) AS
    list_transform([text], lambda t: CASE
        WHEN t IS NULL THEN NULL
        WHEN contains(t, ':') THEN coalesce(
            list_transform([_ip6_plain(t)], lambda p:
                list_transform([_ip6_full(p)], lambda g: _ip6_hex(g))[1])[1],
            _refuse('not an IP address: ' || t))
        ELSE '00000000000000000000FFFF'
            || coalesce(_ip4_hex(t), _refuse('not an IP address: ' || t))
    END)[1];

CREATE OR REPLACE MACRO ip(text) AS unhex(_ip_hex(text));

-- Length of a prefix in bits of the mapped form, 0 to 128.
CREATE OR REPLACE MACRO _cidr_bits(cidr) AS
    CASE WHEN NOT contains(cidr, '/') THEN 128
    WHEN contains(cidr, ':') AND regexp_full_match(
        cidr, '[^/]*/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8])')
    THEN TRY_CAST(split_part(cidr, '/', 2) AS INTEGER)
    WHEN NOT contains(cidr, ':') AND regexp_full_match(cidr, '[^/]*/([0-9]|[12][0-9]|3[0-2])')
    THEN TRY_CAST(split_part(cidr, '/', 2) AS INTEGER) + 96
    ELSE _refuse('not a prefix: ' || cidr)::INTEGER END;

-- First (fill '0', set 0) and last (fill 'F', set 1) address of a prefix: whole hexadecimal digits
-- are kept, the digit that the length cuts is computed, the rest is filled.
CREATE OR REPLACE MACRO _cidr_end(digits, bits, fill, set) AS
    digits[1:bits // 4]
        || CASE bits % 4 WHEN 0 THEN '' ELSE printf('%X',
            (instr('0123456789ABCDEF', digits[bits // 4 + 1]) - 1)
                // (16 >> (bits % 4)) * (16 >> (bits % 4)) + set * ((16 >> (bits % 4)) - 1)) END
        || repeat(fill, 32 - (bits + 3) // 4);

CREATE OR REPLACE MACRO _cidr(cidr, fill, set) AS
    unhex(list_transform([_ip_hex(split_part(cidr, '/', 1))], lambda digits:
        list_transform([_cidr_bits(cidr)], lambda bits:
            _cidr_end(digits, bits, fill, set))[1])[1]);

CREATE OR REPLACE MACRO ip_in(addr, cidr) AS
    addr BETWEEN _cidr(cidr, '0', 0) AND _cidr(cidr, 'F', 1);

CREATE OR REPLACE MACRO ip_is4(addr) AS
    addr BETWEEN unhex('00000000000000000000FFFF00000000')
        AND unhex('00000000000000000000FFFFFFFFFFFF');

-- ':2001:db8:0:0:0:0:0:1:' from 32 hexadecimal digits.
CREATE OR REPLACE MACRO _ip6_long(digits) AS
    regexp_replace(
        ':' || regexp_replace(digits, '(....)', '\1:', 'g'), ':0{1,3}([0-9a-f])', ':\1', 'g');

-- The longest run of zero groups (two or more, the first of equals) becomes `::` (RFC 5952, 4.2).
CREATE OR REPLACE MACRO _ip6_short(long) AS
    list_transform([CASE
        WHEN NOT contains(long, ':0:0:') THEN ''
        WHEN contains(long, ':0:0:0:0:0:') THEN regexp_extract(long, '(:0){5,}:')
        WHEN contains(long, ':0:0:0:0:') THEN ':0:0:0:0:'
        WHEN contains(long, ':0:0:0:') THEN ':0:0:0:'
        ELSE ':0:0:' END], lambda zeros:
        CASE WHEN zeros = '' THEN long[2:-2]
        ELSE ltrim(long[1:instr(long, zeros) - 1], ':') || '::'
            || rtrim(long[instr(long, zeros) + len(zeros):], ':') END)[1];

CREATE OR REPLACE MACRO _octet(digits, i) AS ('0x' || digits[i:i + 1])::INTEGER::VARCHAR;

CREATE OR REPLACE MACRO ip_str(addr) AS
    CASE WHEN addr IS NULL THEN NULL
    WHEN octet_length(addr) <> 16 THEN error('an address has 16 octets')
    WHEN ip_is4(addr) THEN _octet(hex(addr), 25) || '.' || _octet(hex(addr), 27) || '.'
        || _octet(hex(addr), 29) || '.' || _octet(hex(addr), 31)
    ELSE list_transform(
        [_ip6_long(lower(hex(addr)))], lambda long: _ip6_short(long))[1] END;
