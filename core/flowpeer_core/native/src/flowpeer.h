/* The one public header of flowpeer's compiled core. README.md beside it says how it is laid out.
 *
 * Plain C, no global state, no allocation: every buffer is the caller's, who says how large it is.
 * The Python face (table.py) repeats these prototypes for ctypes; a test compares the two.
 * Results: >= 0 is a count; below zero one of the codes here.
 */
#ifndef FLOWPEER_H
#define FLOWPEER_H

#include <stdint.h>

#define FLOWPEER_API __attribute__((visibility("default")))

#define FLOWPEER_NO_ROOM (-1)  /* the output buffer ends too early */
#define FLOWPEER_ARGUMENT (-2) /* an argument that no caller of ours gives */
#define FLOWPEER_OVERFLOW (-3) /* a sum beyond 63 bits, or 128 of a variance */
#define FLOWPEER_VALUE (-4)    /* a record that ingest lets nobody write */

/* CRC-32 of the sources this library was built from: what was built is what stands there. */
FLOWPEER_API uint32_t flowpeer_abi(void);

/* ---- parquet.c: values of one column chunk -> pages (Apache Parquet format 2.10) ---- */

enum { FLOWPEER_BOOL, FLOWPEER_INT32, FLOWPEER_INT64, FLOWPEER_DOUBLE, FLOWPEER_FIXED16 };
enum { FLOWPEER_PLAIN, FLOWPEER_DELTA, FLOWPEER_DICTIONARY, FLOWPEER_INDICES };

/* What becomes of the body of a page: it is stored as it is or compressed, behind its header; or
 * `pages` has bodies without headers, for a caller with a codec of its own. */
enum { FLOWPEER_STORED, FLOWPEER_LZ4, FLOWPEER_BODIES };

/* A column chunk in the making. The caller fills the first part and zeroes the second. */
typedef struct {
    int32_t type;     /* what one value is */
    int32_t encoding; /* INDICES: values are int32 indices into a dictionary of the caller's */
    int32_t nullable; /* pages have definition levels */
    int32_t measured; /* keep the least and greatest value */
    int32_t codec;
    int32_t number;   /* of the encoding, in headers */
    int32_t fallback; /* DICTIONARY: becomes PLAIN if more than half of the first page's values differ */
    uint8_t *entries; /* DICTIONARY: room for `capacity` distinct values; of all rows it is enough */
    uint64_t *places; /* DICTIONARY: a power of two, 2 * capacity or more, of anything */
    uint32_t *index;  /* DICTIONARY: room for the indices of one page */
    uint8_t *scratch; /* room for the values of one page */
    uint8_t *pages;
    int64_t capacity;
    int64_t place_count;
    int64_t page_rows; /* rows that a page has at most */
    int64_t pages_room;

    int64_t rows; /* so far, with nulls */
    int64_t nulls;
    int64_t distinct; /* DICTIONARY: entries; INDICES: set by the caller before each page */
    int64_t places_mask; /* of the places that are in use: few while there are few entries */
    int64_t pages_used;
    int64_t raw; /* octets of pages and headers before compression */
    int32_t known; /* least and greatest hold something */
    int32_t same; /* flowpeer_page: all values given are known to be the first */
    uint8_t least[16]; /* as the value lies in memory */
    uint8_t greatest[16];
} flowpeer_chunk;

/* A column as Arrow lays it out, from row `from` of both buffers. `values` NULL: all are null.
 * `width`: octets of a value (4, 8; 16 of an address); 0: it has no values. `null`: what stands for
 * no value. Pages need neither. */
typedef struct {
    const uint8_t *values;
    const uint8_t *valid; /* NULL: no value is null */
    int64_t from;
    int64_t null;
    int64_t width;
    int64_t same; /* do all rows have the first value? No other one may be there (pages, facts) */
} flowpeer_input;

/* A page of each of `count` columns, appended to `pages` of its chunk. `body`: room for the values
 * of any one. Returns `count`. */
FLOWPEER_API int64_t flowpeer_pages(flowpeer_chunk *chunks, const flowpeer_input *columns,
                                    int64_t count, int64_t rows, uint8_t *body, int64_t room);

/* The page of `raw` octets of a dictionary, stored as the chunk's codec says. Returns octets. */
FLOWPEER_API int64_t flowpeer_dictionary_page(flowpeer_chunk *chunk, const uint8_t *body,
                                              int64_t raw, uint8_t *out, int64_t room);

/* Plain values of texts, which lie one after the other, each from one of `ends` (one more than
 * there are) to the next: each behind its length in 4 octets. `extremes`: zeros, then the numbers of
 * the least and of the greatest one. Returns octets. */
FLOWPEER_API int64_t flowpeer_texts(const uint8_t *texts, const int32_t *ends, int64_t count,
                                    uint8_t *out, int64_t room, int64_t *extremes);

/* The body of one data page (version 1), uncompressed: definition levels, then values.
 * `values`: `rows` values as Arrow lays them out, bools as bits from bit `values_from`; NULL: all
 * null. `valid`: Arrow's bitmap from bit `valid_from`, NULL: none is null. Returns octets. */
FLOWPEER_API int64_t flowpeer_page(flowpeer_chunk *chunk, const uint8_t *values,
                                   int64_t values_from, const uint8_t *valid, int64_t valid_from,
                                   int64_t rows, uint8_t *out, int64_t room);

/* The header of a page of `raw` octets, stored as `stored` with this CRC-32. `dictionary`: of a
 * dictionary page. `encoding`: Parquet's number. Returns octets, at most FLOWPEER_HEADER_ROOM. */
#define FLOWPEER_HEADER_ROOM 64
FLOWPEER_API int64_t flowpeer_page_header(int32_t dictionary, int32_t encoding, int64_t values,
                                          int64_t raw, int64_t stored, uint32_t crc, uint8_t *out,
                                          int64_t room);

/* CRC-32 as zlib's: of what has the checksum `before` (0: of nothing) and `n` octets behind it. */
FLOWPEER_API uint32_t flowpeer_crc32(uint32_t before, const uint8_t *octets, int64_t n);

/* ---- receive.c: datagrams of a socket, as many as wait ---- */

#define FLOWPEER_ARRIVALS 1024 /* datagrams of one call */
#define FLOWPEER_SPILL 65536   /* octets of room behind its slot that each datagram has */

/* A datagram that arrived, as the spool keeps it. */
typedef struct {
    int64_t received_us; /* the kernel's stamp, else the time of the call */
    uint8_t address[16]; /* IPv4 mapped */
    uint16_t source_port;
    uint16_t local_port; /* for the caller to fill in */
    uint32_t length;
    uint32_t offset; /* of its slot */
    uint32_t flags;
} flowpeer_arrival;

/* `memory`: `limit` slots of `stride` octets; `spill`: FLOWPEER_SPILL octets for each. Results:
 * `error`: errno, unless nothing waits; `truncated`: datagrams that had no room; `drops`: what the
 * kernel has dropped of this socket so far, modulo 2^32, as before where it does not say. */
typedef struct {
    uint8_t *memory;
    uint8_t *spill;
    flowpeer_arrival *arrivals;
    int64_t stride;
    int64_t limit;
    int32_t socket;

    int32_t error;
    int64_t truncated;
    int64_t drops;
} flowpeer_receiving;

/* Takes what waits, `limit` datagrams at most, and never waits for one. Returns how many. */
FLOWPEER_API int64_t flowpeer_receive(flowpeer_receiving *r);

/* ---- addresses.c: what parquet.c makes of addresses, read back ---- */

/* The values of a data page (version 1, uncompressed, with definition levels, no nulls) that has
 * indices of `count` entries of 16 octets. Returns `rows`. */
FLOWPEER_API int64_t flowpeer_addresses(const uint8_t *page, int64_t size, const uint8_t *entries,
                                        int64_t count, int64_t rows, uint8_t *out);

/* ---- walk.c: datagrams -> sets of records; records.c: sets of records -> columns ---- */

/* What is read from records: the keys of flowpeer_ingest.wire.elements. */
enum {
    KEY_BYTES_DELTA, KEY_PACKETS_DELTA, KEY_BYTES_TOTAL, KEY_PACKETS_TOTAL, KEY_BYTES_INITIATOR,
    KEY_PACKETS_INITIATOR, KEY_BYTES_RESPONDER, KEY_PACKETS_RESPONDER, KEY_PROTOCOL, KEY_TOS,
    KEY_TCP_FLAGS, KEY_SRC_PORT, KEY_DST_PORT, KEY_ICMP4, KEY_ICMP6, KEY_ICMP4_TYPE,
    KEY_ICMP4_CODE, KEY_ICMP6_TYPE, KEY_ICMP6_CODE, KEY_INPUT_IF, KEY_OUTPUT_IF, KEY_DIRECTION,
    KEY_SRC_AS, KEY_DST_AS, KEY_SRC_MASK4, KEY_DST_MASK4, KEY_SRC_MASK6, KEY_DST_MASK6,
    KEY_MIN_LENGTH, KEY_MAX_LENGTH, KEY_SRC_MAC, KEY_DST_MAC, KEY_SRC4, KEY_DST4, KEY_NEXT_HOP4,
    KEY_BGP_NEXT_HOP4, KEY_SRC6, KEY_DST6, KEY_NEXT_HOP6, KEY_BGP_NEXT_HOP6,
    KEY_SAMPLING_INTERVAL, KEY_SAMPLER_RANDOM_INTERVAL, KEY_SAMPLING_PACKET_INTERVAL,
    KEY_SAMPLING_PACKET_SPACE, KEY_SAMPLING_SIZE, KEY_SAMPLING_POPULATION, KEY_SAMPLER_ID,
    KEY_START_UPTIME, KEY_END_UPTIME, KEY_START_S, KEY_END_S, KEY_START_MS, KEY_END_MS,
    KEY_START_NTP, KEY_END_NTP, KEY_START_NTP_NS, KEY_END_NTP_NS, KEY_START_DELTA_US,
    KEY_END_DELTA_US, KEY_BOOT_MS, KEY_DURATION_MS, KEY_DURATION_US, KEY_OBSERVED_S,
    KEY_OBSERVED_MS, KEY_REVERSE_BYTES_DELTA, KEY_REVERSE_PACKETS_DELTA,
    KEY_REVERSE_BYTES_TOTAL, KEY_REVERSE_PACKETS_TOTAL, KEY_REVERSE_TOS, KEY_REVERSE_TCP_FLAGS,
    KEY_REVERSE_START_UPTIME, KEY_REVERSE_END_UPTIME, KEY_REVERSE_START_S, KEY_REVERSE_END_S,
    KEY_REVERSE_START_MS, KEY_REVERSE_END_MS, KEY_REVERSE_START_NTP, KEY_REVERSE_END_NTP,
    KEY_REVERSE_START_NTP_NS, KEY_REVERSE_END_NTP_NS, KEYS
};
#define FLOWPEER_KEYS 80

/* The columns of `flows`, in their order. */
enum {
    COLUMN_RECEIVED_AT, COLUMN_START_TIME, COLUMN_END_TIME, COLUMN_EXPORTER_IP,
    COLUMN_OBSERVATION_DOMAIN, COLUMN_FORMAT, COLUMN_INPUT_IF, COLUMN_OUTPUT_IF,
    COLUMN_DIRECTION, COLUMN_SRC_ADDR, COLUMN_DST_ADDR, COLUMN_SRC_PORT, COLUMN_DST_PORT,
    COLUMN_PROTOCOL, COLUMN_TOS, COLUMN_TCP_FLAGS, COLUMN_BYTES, COLUMN_PACKETS,
    COLUMN_SAMPLING_INTERVAL, COLUMN_SAMPLER_ID, COLUMN_MIN_LENGTH, COLUMN_MAX_LENGTH,
    COLUMN_NEXT_HOP, COLUMN_BGP_NEXT_HOP, COLUMN_SRC_AS, COLUMN_DST_AS, COLUMN_SRC_MASK,
    COLUMN_DST_MASK, COLUMN_SRC_MAC, COLUMN_DST_MAC, COLUMN_TIME_CORRECTED, COLUMN_EXPORT_TIME,
    COLUMN_DATAGRAM_SEQUENCE, COLUMN_SESSION, COLUMN_SAMPLING_NUMERATOR,
    COLUMN_SAMPLING_DENOMINATOR, COLUMNS
};
#define FLOWPEER_COLUMNS 36

#define FLOWPEER_PART 1024       /* records of a set at most: larger data sets are several */
#define FLOWPEER_STRIP 256       /* records that are read together */
#define FLOWPEER_SCRATCH 1048576 /* octets of flowpeer_rows.scratch */
#define FLOWPEER_SAMPLE_OCTETS 144 /* of an sFlow sample as flowpeer_walk writes it out */

/* The values of column `format`. */
enum { FORMAT_NETFLOW1, FORMAT_NETFLOW5, FORMAT_NETFLOW7, FORMAT_NETFLOW9, FORMAT_IPFIX, FORMAT_SFLOW5 };

/* How records lie: of `minimum` octets, or with `variables` fields of variable length (RFC 7011
 * section 7) behind runs[i] octets each, the last run behind the last of them. Such a record is
 * written out at `flat_size`, kept fields right-aligned in 16 octets. `offset` and `length` of each
 * key are in that form, -1 for none. */
typedef struct {
    int32_t minimum;
    int32_t flat_size;
    int32_t variables;
    int32_t unused;
    const int32_t *runs;
    const uint8_t *keeps;
    int32_t offset[FLOWPEER_KEYS];
    int32_t length[FLOWPEER_KEYS];
} flowpeer_layout;

#define FLOWPEER_AGAIN 4 /* sets of templates that are remembered of a session */

/* A transport session and observation domain, or an sFlow agent; the first part is its key.
 * `expected`: next sequence number, -1 unknown; `plain`: a number that is the expected one needs no
 * other rule. Results: `touched` once a datagram was taken, `unsure` once a number was another. */
typedef struct {
    uint32_t exporter;
    uint16_t port;
    uint16_t version;
    uint32_t domain;
    uint8_t agent[16]; /* sFlow: its octets at the end, zeros before them */
    uint32_t unused;
    int64_t expected;
    int64_t previous;
    int64_t boot_ms;
    int64_t number; /* as column `session` calls it */
    int32_t rates;
    int32_t plain;
    int32_t touched;
    int32_t unsure;
    const uint8_t *again[FLOWPEER_AGAIN]; /* whole sets of templates that say nothing new; or NULL */
    int64_t again_size[FLOWPEER_AGAIN];
} flowpeer_session;

/* `count` records of one layout, or sFlow samples (layout -1) of the elements in `mask`.
 * `base` 0: octets in the batch; 1: in the arena. */
typedef struct {
    int64_t at;
    int64_t size;
    int64_t count;
    int64_t received_us;
    int64_t export_ms;
    int64_t uptime_ms;
    int64_t domain;
    int64_t session;
    int64_t sequence;
    int64_t sampling;
    int64_t timeout_us;
    uint32_t mask;
    int32_t layout;
    int32_t exporter;
    int32_t format;
    int32_t rates;
    int32_t base;
} flowpeer_set;

/* A datagram of a batch. `exporter` is a number of the caller's. */
typedef struct {
    int64_t at;
    int64_t size;
    int64_t received_us;
    uint32_t exporter;
    uint16_t port;
    uint16_t unused;
} flowpeer_datagram;

/* What was found out of a datagram; session -1: nothing was taken from it. */
typedef struct {
    int64_t sequence;
    int64_t export_ms;
    int64_t units;
    int32_t session;
    int32_t odd; /* its sequence number is for the caller to judge */
} flowpeer_found;

enum { STOP_END, STOP_ODD, STOP_SESSION, STOP_TEMPLATE, STOP_FULL };

/* Everything flowpeer_walk works on. Hash tables hold a place + 1, 0 is empty; the caller clears
 * them. `codes` of a template: its layout, or -1 where its datagrams are not plain. */
typedef struct {
    const uint8_t *octets;
    int64_t size;
    const flowpeer_datagram *datagrams;
    flowpeer_found *found;
    int64_t count;
    int64_t next; /* datagram to go on with */
    const flowpeer_layout *layouts;
    int64_t layout_count;
    flowpeer_session *sessions;
    int64_t session_count;
    uint32_t *session_places;
    int64_t session_mask;
    uint64_t *templates; /* session << 16 | number */
    int32_t *codes;
    int64_t template_count;
    uint32_t *template_places;
    int64_t template_mask;
    flowpeer_set *sets;
    int64_t set_count;
    int64_t set_room;
    uint8_t *arena;
    int64_t arena_used;
    int64_t arena_room;
    const int64_t *timeouts_us; /* by exporter */
    int64_t silent;             /* sFlow samples without an IP packet */
    int64_t others[4];          /* samples of kind 2, 4, 5 and others */
    int32_t netflow5;           /* its layout */
    int32_t stop;
    int64_t wanted; /* STOP_TEMPLATE: what is not known, as in `templates` */
    flowpeer_session key; /* STOP_SESSION: what is not known; only its key is set */
} flowpeer_batch;

/* Takes plain datagrams apart until `count`, or one that is for the caller: `next` and `stop` say
 * which and why. STOP_ODD: it is not plain. Returns the datagrams taken. */
FLOWPEER_API int64_t flowpeer_walk(flowpeer_batch *batch);

/* Enters a session (its key is set) or template into the tables: its place. */
FLOWPEER_API int64_t flowpeer_put_session(flowpeer_batch *batch, const flowpeer_session *session,
                                          int64_t room);
FLOWPEER_API int64_t flowpeer_put_template(flowpeer_batch *batch, uint64_t key, int32_t code,
                                           int64_t room);

/* Rates of options data as seen from one domain (METHODS M2): pairs of number and rate, ascending
 * by number. 0: unknown. `only`: for records without a sampler. */
typedef struct {
    const int64_t *samplers;
    const int64_t *interfaces;
    int64_t sampler_count;
    int64_t interface_count;
    int64_t wide;
    int64_t only;
} flowpeer_rates;

/* A column in the making: values, and a bitmap of those that are not null, all zero at first, which
 * is not written before there is one (`bits` 0). As long as all rows have one value it is not
 * written either, only `alike` counts them (-1: they are written). */
typedef struct {
    uint8_t *values;
    uint8_t *valid;
    int64_t known;
    int64_t alike;
    int64_t one;
    int64_t width; /* octets of a value */
    int64_t bits;
} flowpeer_column;

/* Limits of METHODS M1 to M3, all decided by the caller. */
typedef struct {
    int64_t clock_tolerance_us;
    int64_t oldest_us;
    int64_t newest_us;
    int64_t slack_us;
    int64_t future_ms;
    int64_t latest_ms;
    int64_t long_us;
    int64_t most;          /* bytes or packets of a record */
    int64_t least_octets;  /* of a packet */
    int64_t backwards_us;  /* that a record may end before it starts */
    int64_t longest_us;
    int64_t most_sampling; /* N of 1:N */
    int64_t most_denominator;
} flowpeer_limits;

/* Why a record is set aside: flowpeer_ingest/plausible.py. */
enum {
    IMPLAUSIBLE_BYTES, IMPLAUSIBLE_PACKETS, IMPLAUSIBLE_SMALL, IMPLAUSIBLE_BACKWARDS,
    IMPLAUSIBLE_LONG, IMPLAUSIBLE
};
#define FLOWPEER_IMPLAUSIBLE_EACH 2  /* records kept as a sample, of an exporter and reason */
#define FLOWPEER_IMPLAUSIBLE_ROOM 64 /* of all */

/* Counts by exporter. */
typedef struct {
    int64_t records;
    int64_t corrected;
    int64_t long_flows;
    int64_t sampling_beyond;
    int64_t octets; /* of all records, up to `most` of each */
    int64_t implausible[IMPLAUSIBLE];
    int64_t implausible_octets[IMPLAUSIBLE];
    int64_t implausible_packets[IMPLAUSIBLE];
} flowpeer_tally;

/* A record that was set aside: -1 and zeros where it does not say. */
typedef struct {
    int64_t exporter;
    int64_t reason;
    int64_t received_us;
    int64_t domain;
    int64_t input_if;
    int64_t output_if;
    int64_t octets;
    int64_t packets;
    int64_t start_us;
    int64_t end_us;
    uint8_t src[16];
    uint8_t dst[16];
} flowpeer_implausible;

/* What is known of rows without looking at them again. */
typedef struct {
    int64_t first_us; /* received */
    int64_t last_us;
    int64_t octets;
    int64_t packets;
    int64_t corrected;
    int32_t exporters[2]; /* the least and the greatest number */
    int32_t formats[2];
} flowpeer_made;

typedef struct {
    const uint8_t *base[2];
    int64_t base_size[2];
    const flowpeer_layout *layouts;
    int64_t layout_count;
    const flowpeer_rates *rates;
    int64_t rates_count;
    flowpeer_tally *tallies; /* by exporter */
    int64_t exporters;
    flowpeer_column columns[FLOWPEER_COLUMNS];
    int64_t rows;
    int64_t room;   /* rows that fit */
    int64_t enough; /* rows after which it may stop */
    flowpeer_made made;
    uint8_t *scratch;
    flowpeer_limits limits;
    int64_t sampled;
    flowpeer_implausible sample[FLOWPEER_IMPLAUSIBLE_ROOM];
} flowpeer_rows;

/* Reads sets[0:count] into columns until there are enough rows: how many sets were read. A set is
 * read whole or not at all; its rows and those of its reverse flows (RFC 5103) must fit. */
FLOWPEER_API int64_t flowpeer_read(flowpeer_rows *rows, const flowpeer_set *sets, int64_t count);

/* Writes what is not written yet of columns, of one that is alike in all rows the first, and where
 * each of them lies. Returns 0. */
FLOWPEER_API int64_t flowpeer_settle(flowpeer_rows *rows, flowpeer_input *out);

/* ---- facts.c: what is gathered of the records of a table ---- */

#define FLOWPEER_FACTS 4096      /* sums that are kept at once */
#define FLOWPEER_FACTS_SPANS 256 /* spans likewise */
#define FLOWPEER_FACTS_HOURS 256 /* pairs of hours likewise */

/* Records that name an interface. `way`: 1 of an egress record, 2 as output, 4 without a rate of
 * its own. */
typedef struct {
    int64_t interface;
    int32_t exporter;
    int32_t way;
    int64_t records;
    int64_t octets; /* scaled */
    int64_t exported;
} flowpeer_fact;

/* Times (µs) and sequence numbers of datagrams. */
typedef struct {
    int64_t exporter;
    int64_t domain;
    int64_t first;
    int64_t last;
    int64_t low;
    int64_t high;
} flowpeer_span;

/* Columns of a table; `exporter` is an index below `exporters`. The caller zeroes `places` and the
 * counts before each call, and `unrated` and `asking` before the first. */
typedef struct {
    flowpeer_input start;
    flowpeer_input end;
    flowpeer_input received;
    flowpeer_input sent;
    flowpeer_input exporter;
    flowpeer_input domain;
    flowpeer_input sequence;
    flowpeer_input session;
    flowpeer_input input_if;
    flowpeer_input output_if;
    flowpeer_input direction;
    flowpeer_input bytes;
    flowpeer_input interval;
    flowpeer_input numerator;
    int64_t rows;
    int64_t next; /* row to go on with */
    int64_t exporters;
    int64_t hour_us;
    int64_t apart_us;
    int64_t most_octets; /* of a record, up to 2^40 */
    int64_t most_rate;   /* up to 2^22 */
    int64_t *unrated;    /* records without a rate, by exporter */
    uint8_t *asking;     /* by exporter: is there a record without a rate of its own? */
    uint32_t *places;    /* 2 * FLOWPEER_FACTS */
    flowpeer_fact *facts;
    flowpeer_span *spans;
    int64_t *hours; /* pairs: those in which a record starts and ends */
    int64_t fact_count;
    int64_t span_count;
    int64_t hour_count;
} flowpeer_facts;

/* Gathers rows from `next` on while each table has room for what some may add, at most 2^20. Returns
 * how many. */
FLOWPEER_API int64_t flowpeer_gather(flowpeer_facts *facts);

/* ---- rollup.c, match.c, sums.c: records of `flows` -> sums by network and by route ---- */

#define FLOWPEER_BLOCK 64 /* records that are worked on together */
#define FLOWPEER_PARTS 12 /* slots of an hour */
#define FLOWPEER_LEAST_ROOM 1536 /* entries that a block may make: 2 * 64 in each slot */
#define FLOWPEER_SLOT_US 300000000

/* Numbers rows by what they hold in `columns`, 32 at most, as they turn up: numbers[row], the first
 * row of each number, and what it holds: values[number * count + column]. `places`: a power of two,
 * `mask` + 1, of twice the rows or more, of anything. Returns how many numbers there are. */
FLOWPEER_API int64_t flowpeer_combine(const flowpeer_input *columns, int64_t count, int64_t rows,
                                      uint64_t seed, uint32_t *places, int64_t mask,
                                      int32_t *numbers, int64_t *firsts, int64_t *values);

/* Routes as disjoint intervals, see intervals.py. index4[a]: the last interval that starts at or
 * below a << shift4, and at the end the last one; index6 likewise, of groups, by hi >> shift6.
 * `count`: routes there are. */
typedef struct {
    const uint32_t *start4;
    const int32_t *owner4;
    const int32_t *index4;
    const uint64_t *hi6;
    const int32_t *last6;
    const uint8_t *cut6;
    const int64_t *first6;
    const int32_t *index6;
    const uint64_t *lo6;
    const int32_t *owner6;
    int64_t count4;
    int64_t groups6;
    int64_t count6;
    int64_t count;
    int64_t shift4; /* 8 to 24 */
    int64_t shift6; /* 40 to 56 */
} flowpeer_routes;

/* The longest match of each row's address, or of its second one where it has no first: the number
 * of the route, -1 for none. Returns `rows`. */
FLOWPEER_API int64_t flowpeer_match(const flowpeer_routes *routes, const flowpeer_input *first,
                                    const flowpeer_input *second, int64_t rows, int32_t *out);

/* The routes that hold for some exporters. `offset`: code of the first of them. `near`: of each,
 * whether an address that it is the longest match of may lie in an own prefix. */
typedef struct {
    flowpeer_routes routes;
    int64_t offset;
    const uint8_t *near;
} flowpeer_view;

/* What METHODS M1 and M2 say of a number of flowpeer_combine. */
typedef struct {
    int64_t side[2]; /* where it is counted; second -1: nowhere else */
    int64_t view[2];
    int64_t source[2]; /* is the source the remote end? */
    int64_t discarded;
    int64_t rate; /* 0: unknown */
    int64_t divisor;
    int64_t largest; /* packet, where the record does not say; at least 1 */
} flowpeer_kind;

/* Sums of one key. */
typedef struct {
    uint64_t key;
    int64_t bytes;
    int64_t packets;
    int64_t records;
    uint64_t low[2]; /* lower half first */
    uint64_t high[2];
} flowpeer_entry;

/* Sums by key: entries in the order in which keys were met, and 1 << bits places of them, each the
 * upper half of its key's hash and its number + 1; 0 marks what is free. */
typedef struct {
    flowpeer_entry *entries;
    int64_t room; /* for entries, below 2^32 */
    int64_t used;
    uint64_t *places;
    int64_t bits; /* 32 at most */
    uint64_t seed;
    int64_t wants; /* FLOWPEER_WANTS_…: what must grow first */
} flowpeer_sums;
enum { FLOWPEER_WANTS_NOTHING, FLOWPEER_WANTS_PLACES, FLOWPEER_WANTS_ENTRIES };

/* What of a record lies in the hour, and its keys by route, as many as `crossings`; 0: nothing. */
typedef struct {
    int64_t bytes;
    int64_t packets;
    int64_t records;
    int64_t crossings;
    uint64_t route[2];
} flowpeer_record;

/* Totals of 128 bits, lower half first. */
enum { TOTAL_FLOW, TOTAL_FLOW_UNSCALED, TOTAL_THROUGH, TOTAL_THROUGH_UNSCALED, TOTAL_DISCARDED,
       TOTAL_RECORDS, TOTAL_IMPLAUSIBLE, TOTALS };
#define FLOWPEER_TOTAL_HALVES 14

/* What an address is to a view. */
typedef struct {
    uint64_t hi;
    uint64_t lo;
    int64_t code;
    int64_t view; /* + 1; 0: nothing is known */
} flowpeer_known;
#define FLOWPEER_SLOT_BIT 60 /* of a key by slot and route: where the slot begins */
#define FLOWPEER_KNOWN 16384 /* addresses, a power of two */

/* Everything flowpeer_sum works on. Its sums are by slot and route:
 * slot << FLOWPEER_SLOT_BIT | ((side << route_bits | code) << local_bits | own prefix + 1) << 1
 * | scaled; codes 0 to 2 are no route (IPv4, IPv6) and no address, then come own prefixes, then the
 * views. */
typedef struct {
    flowpeer_input start;
    flowpeer_input end;
    flowpeer_input bytes;
    flowpeer_input packets;
    flowpeer_input shortest;
    flowpeer_input longest;
    flowpeer_input src;
    flowpeer_input dst;
    const int32_t *numbers;
    const flowpeer_kind *kinds;
    int64_t kind_count;
    int64_t rows;
    int64_t next; /* row to go on with */
    const flowpeer_view *views;
    int64_t view_count;
    flowpeer_known *known; /* FLOWPEER_KNOWN of them, zeroed before the first call */
    flowpeer_routes own;
    int64_t route_bits;
    int64_t local_bits;
    flowpeer_record *each; /* NULL: sums; else each row by itself, and no sums */
    flowpeer_sums sums;
    int64_t begin_us;
    int64_t most_us; /* duration */
    double most_scaled;
    double most_variance;
    double smallest_packet; /* where an exporter does not say */
    double longest_packet; /* whatever it says */
    uint64_t totals[FLOWPEER_TOTAL_HALVES];
} flowpeer_sum_state;

/* Adds rows [next, rows) that lie in the hour, until its sums want room: METHODS M2 to M4 and M6;
 * its plain twin is flowpeer/rollup/plain.py. Returns `next`. */
FLOWPEER_API int64_t flowpeer_sum(flowpeer_sum_state *state);

/* Moves sums to 1 << bits other places, more of them, which are all free. Returns how many are used. */
FLOWPEER_API int64_t flowpeer_grow(flowpeer_sums *sums, uint64_t *places, int64_t bits);

/* Bits of a key, and the lowest bit of a new one that they go to: as they are, or, where there are
 * `ranks`, the one whose number they are. */
typedef struct {
    int64_t begin; /* the lowest of them */
    int64_t bits;
    int64_t to;
    const int64_t *ranks;
    int64_t count; /* of what they may be */
} flowpeer_field;

/* New keys of entries, each with the entry's address. Returns `count`. */
FLOWPEER_API int64_t flowpeer_pairs(const flowpeer_entry *entries, int64_t count,
                                    const flowpeer_field *fields, int64_t field_count,
                                    uint64_t *pairs);

/* Sorts `count` pairs. Returns 1 if they are in `other` then, which has room for as many. */
FLOWPEER_API int64_t flowpeer_order(uint64_t *pairs, uint64_t *other, int64_t count);

/* Rows of sorted pairs from `next` on, `room` at most, those of one key summed. Returns how many. */
FLOWPEER_API int64_t flowpeer_summed(const uint64_t *pairs, int64_t count, int64_t *next,
                                     int64_t room, uint64_t *keys, int64_t *bytes,
                                     int64_t *packets, int64_t *records, double *low,
                                     double *high);

/* Entries in the order of pairs, with their new keys. Returns `count`. */
FLOWPEER_API int64_t flowpeer_entries(const uint64_t *pairs, int64_t count, flowpeer_entry *out);

/* Of entries in the order of their keys, `used` gets a 1 for each code of a route, and what is above
 * the code divides them into segments, `room` at most: keys[n] of those from bounds[n] to
 * bounds[n + 1]. Returns how many segments there are. */
FLOWPEER_API int64_t flowpeer_segments(const flowpeer_entry *entries, int64_t count,
                                       const flowpeer_field *route, uint8_t *used, int64_t room,
                                       uint64_t *keys, int64_t *bounds);

/* ---- drill.c: bytes of links over the links that take over (METHODS M12), to the byte ----
 * A split gives each its whole share and the bytes left to the largest remainders, of equal ones to
 * the earlier. Bytes and weights are 0 to 2^53, sums of weights below 2^60. */

/* One link's routes when links go: `table` (targets x hours) receives the bytes of each hour. */
typedef struct {
    const int32_t *hour;     /* of each row, rising */
    const int32_t *question; /* of each row */
    const int32_t *group;    /* of each row: prefix and hour that other links carry too; -1: none */
    const int64_t *bytes;    /* of each row */
    int64_t rows;
    const int32_t *answer; /* of each question: its place in `first`; -1: not asked */
    int64_t questions;
    const int64_t *first; /* options of answer a: [first[a], first[a + 1]), one or more */
    const int32_t *pool;  /* of each answer: the one that its ties are split together with */
    int64_t answers;
    const int32_t *place;  /* of each option: its row of the table */
    const int32_t *link;   /* of each option, -1: none */
    const int64_t *weight; /* of each option: by which a pool is split */
    int64_t options;
    const int64_t *edge;   /* of group g: [edge[g], edge[g + 1]) */
    const int32_t *holder; /* links of a group, rising */
    const int64_t *held;   /* their bytes */
    int64_t groups;
    int64_t holders;
    int64_t targets;
    int64_t hours;
    int64_t *table;
    int64_t *asked;   /* of each answer: bytes, added to */
    int64_t *pooled;  /* of each answer: zeros */
    int32_t *touched; /* room for the answers */
    int64_t *scratch; /* room for 5 * the most options of an answer */
} flowpeer_fall_state;

/* Ties are split by what their links carry of the prefix in the hour, else pooled by hour and tie
 * and split by weight. Returns the rows. */
FLOWPEER_API int64_t flowpeer_fall(const flowpeer_fall_state *state);

/* One link's slots over targets, by the weights of their hours. */
typedef struct {
    const int64_t *load; /* of each slot */
    int64_t slots;
    int64_t into; /* slots of the table's first hour that lie before the first one */
    int64_t per_hour;
    const int64_t *weights; /* targets x hours */
    const int64_t *may;     /* the same: what each alone may receive; NULL: none is asked */
    int64_t targets;
    int64_t hours;
    int64_t spare;       /* target of hours whose weights are all 0 */
    const int64_t *row;  /* of each target, in `now` and `most` */
    const int64_t *pair; /* of each target, in `between`; -1: none */
    const int64_t *like; /* of each target: the first one with the same `may` */
    const uint8_t *real; /* of each target: it is a link, `most` counts it */
    int64_t *now;        /* rows x slots, added to */
    int64_t *most;       /* the same, each alone, rounded up; NULL without `may` */
    int64_t rows;
    int64_t *between; /* pairs x slots, added to */
    int64_t pairs;
    int64_t *sums;    /* of each target, added to */
    int64_t *scratch; /* room for 236 * targets */
} flowpeer_spread_state;

FLOWPEER_API int64_t flowpeer_spread(const flowpeer_spread_state *state);

/* Of each row of values: the largest, the `top`-th largest of those that count (0: none), and how
 * many are above each border. */
#define FLOWPEER_LEVELS 128
typedef struct {
    const int64_t *values; /* rows x width, none below 0 */
    int64_t rows;
    int64_t width;
    const uint8_t *counts; /* kinds x width: which count for `top` */
    const int32_t *kind;   /* of each row; -1: all count */
    int64_t kinds;
    const int64_t *top;   /* of each row */
    const int64_t *guess; /* of each row: what is below it is looked at only if need be */
    const int64_t *borders; /* rows x levels, rising, none below 0 */
    int64_t levels;
    int64_t *largest;
    int64_t *ranked;
    int64_t *above;   /* rows x levels */
    int64_t *scratch; /* room for width */
} flowpeer_figures_state;

FLOWPEER_API int64_t flowpeer_figures(const flowpeer_figures_state *state);

#endif
