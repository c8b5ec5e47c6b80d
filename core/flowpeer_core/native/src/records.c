/* Sets of flow records -> columns of `flows`.
 *
 * Input: octets of records of one layout and what the message around them says. Output: values and
 * validity of every column as Arrow lays them out, in the order of the records; the reverse flows
 * of a set (RFC 5103) follow its forward ones. Kept equal by tests to flowpeer_ingest/flow_rules.py,
 * which states the rules one record at a time and cites the clauses; nothing is decided here that
 * is not stated there. Records are read in strips, of as many sets as lie alike: few enough that the
 * values of a strip stay in the nearest cache, and enough that what is decided by layout costs
 * nothing. -1 means that a record does not say.
 */
#include <stddef.h>

#include "flowpeer.h"
#include "read.h"
#include "sample.h"
#include "twice.h"

#define MOST INT64_MAX
enum { N = FLOWPEER_STRIP };
static const int64_t UPTIME = 0xFFFFFFFF;
static const int64_t NTP_EPOCH_S = 2208988800;
static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

/* Records [from, to) of a strip are of one set. */
typedef struct {
    const flowpeer_set *set;
    int from;
    int to;
    int kept; /* of them become rows */
} part_t;

/* Records of sets that lie alike, and the values read of them so far. */
typedef struct {
    const uint8_t *at[N];
    int64_t size; /* octets of a record */
    const flowpeer_layout *layout;
    const flowpeer_limits *limits;
    int format;
    bool sample; /* of sFlow; its layout has what any of them says */
    int n;
    int part_count;
    part_t part[N];
    bool read[KEYS];
    int64_t values[KEYS][N];
} strip_t;

/* Every part of a strip, as `part`, and its set. */
#define EACH_PART(s) \
    const part_t *part = (s)->part; part < (s)->part + (s)->part_count; part++

static inline int64_t no_more(uint64_t value) {
    return value > (uint64_t)MOST ? MOST : (int64_t)value;
}

static inline int64_t sum(int64_t a, int64_t b) {
    int64_t out;
    if (__builtin_add_overflow(a, b, &out)) return a < 0 ? INT64_MIN : INT64_MAX;
    return out;
}

static void read_unsigned(const uint8_t *const *record, int64_t offset, int64_t length, int n,
                          int64_t *out) {
    switch (length) {
        case 1:
#pragma GCC unroll 4
            for (int i = 0; i < n; i++) out[i] = record[i][offset];
            break;
        case 2:
#pragma GCC unroll 4
            for (int i = 0; i < n; i++) out[i] = (int64_t)big16(record[i] + offset);
            break;
        case 4:
#pragma GCC unroll 4
            for (int i = 0; i < n; i++) out[i] = (int64_t)big32(record[i] + offset);
            break;
        case 8:
            for (int i = 0; i < n; i++) out[i] = no_more(big64(record[i] + offset));
            break;
        default:
            for (int i = 0; i < n; i++) {
                uint64_t value = 0;
                bool beyond = false;
                for (int64_t j = 0; j < length; j++) {
                    beyond |= value >> 56 != 0;
                    value = value << 8 | record[i][offset + j];
                }
                out[i] = beyond ? MOST : no_more(value);
            }
    }
}

static void read_ntp(const uint8_t *const *record, int64_t offset, int n, int64_t *out) {
    for (int i = 0; i < n; i++) {
        int64_t seconds = (int64_t)big32(record[i] + offset);
        int64_t fraction = (int64_t)big32(record[i] + offset + 4);
        out[i] = seconds ? (seconds - NTP_EPOCH_S) * 1000000 + (fraction * 1000000 >> 32) : 0;
    }
}

static bool is_ntp(int key) {
    return (key >= KEY_START_NTP && key <= KEY_END_NTP_NS) ||
           (key >= KEY_REVERSE_START_NTP && key <= KEY_REVERSE_END_NTP_NS);
}

/* Where a key lies in each record, -1 if the layout has none. */
static inline int64_t place_of(const strip_t *s, int key) {
    return field(s->size, s->layout->offset[key], s->layout->length[key]);
}

/* The same of an address of `size` octets. */
static inline int64_t address_of(const strip_t *s, int key, int size) {
    int64_t place = place_of(s, key);
    return place >= 0 && s->layout->length[key] == size ? place : -1;
}

/* Elements that an sFlow sample may have or not without more being decided by it than whether a
 * column has a value: samples that differ in these alone are read together. */
static const uint32_t LOOSE = 1u << E_TCP_FLAGS | 1u << E_SRC_PORT | 1u << E_DST_PORT |
                              1u << E_INPUT_IF | 1u << E_OUTPUT_IF | 1u << E_SRC_AS |
                              1u << E_DST_AS | 1u << E_SRC_MAC | 1u << E_DST_MAC;

/* Takes the values of a key from the samples that have no such element. */
static void only_said(const strip_t *s, int key, int64_t *values) {
    for (int e = 0; e < ELEMENTS; e++) {
        if (SAMPLE[e].key != key || !(LOOSE >> e & 1)) continue;
        for (EACH_PART(s))
            for (int i = part->from; i < part->to && !(part->set->mask >> e & 1); i++) values[i] = -1;
    }
}

/* The values of a key, NULL if the layout has none. */
static const int64_t *get(strip_t *s, int key) {
    int64_t place = place_of(s, key);
    if (place < 0 || (is_ntp(key) && s->layout->length[key] != 8)) return NULL;
    if (!s->read[key]) {
        s->read[key] = true;
        if (is_ntp(key))
            read_ntp(s->at, place, s->n, s->values[key]);
        else
            read_unsigned(s->at, place, s->layout->length[key], s->n, s->values[key]);
        if (s->sample) only_said(s, key, s->values[key]);
    }
    return s->values[key];
}

/* ---- columns ---- */

/* Rows on their way out: all of a strip, or those picked. */
typedef struct {
    flowpeer_rows *rows;
    int64_t at;
    int m;
    bool all;
    const uint8_t *pick;
} out_t;

static void set_bits(uint8_t *bits, int64_t at, int64_t n) {
    for (; n && at & 7; at++, n--) bits[at >> 3] |= (uint8_t)(1 << (at & 7));
    memset(bits + (at >> 3), 0xFF, (size_t)(n >> 3));
    if (n & 7) bits[(at + n) >> 3] |= (uint8_t)((1 << (n & 7)) - 1);
}

/* Writes the first n values of a column, which are alike. */
static void fill(flowpeer_column *column, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        memcpy(column->values + i * column->width, &column->one, (size_t)column->width);
}

/* Before values of any kind are written: those before them are. */
static void break_off(flowpeer_column *column) {
    if (column->alike > 0) fill(column, column->alike);
    column->alike = -1;
}

/* From a null on there are bits: those of the rows before it, which have values, are set. */
static void begin_bits(flowpeer_column *column) {
    if (!column->bits) set_bits(column->valid, 0, column->known);
    column->bits = 1;
}

/* These m rows from `at` have values. */
static void know(flowpeer_column *column, int64_t at, int64_t m) {
    if (column->known != at) begin_bits(column);
    if (column->bits) set_bits(column->valid, at, m);
    column->known += m;
}

/* Are these m rows from `at` like all before them? Then there is nothing to write. */
static bool goes_on(flowpeer_column *column, int64_t at, int64_t value, int64_t m) {
    if (column->alike != at || (at && column->one != value)) return false;
    column->one = value;
    column->alike += m;
    column->known += m;
    return true;
}

int64_t flowpeer_settle(flowpeer_rows *rows, flowpeer_input *out) {
    for (int i = 0; i < FLOWPEER_COLUMNS; i++) {
        flowpeer_column *column = &rows->columns[i];
        bool same = column->alike == rows->rows && rows->rows;
        if (same)
            fill(column, 1);
        else
            break_off(column);
        bool stated = column->known > 0 || i == COLUMN_TIME_CORRECTED;
        bool nulls = stated && column->known < rows->rows && i != COLUMN_TIME_CORRECTED;
        if (nulls) begin_bits(column);
        out[i] = (flowpeer_input){.values = stated ? column->values : NULL,
                                  .valid = nulls ? column->valid : NULL,
                                  .width = column->width,
                                  .same = same};
    }
    return 0;
}

/* What m values have in common: `null` is below zero if one is below zero or above `most`, `none` if
 * all are below zero, and `other` is zero if all are the same. */
typedef struct {
    uint64_t null, none, other;
} common_t;

ANY common_t compare_any(const int64_t *values, int m, int64_t most) {
    common_t out = {0, UINT64_MAX, 0};
    for (int i = 0; i < m; i++) {
        out.null |= ((uint64_t)most - (uint64_t)values[i]) | (uint64_t)values[i];
        out.none &= (uint64_t)values[i];
        out.other |= (uint64_t)values[i] ^ (uint64_t)values[0];
    }
    return out;
}
TWICE(common_t, compare, (const int64_t *values, int m, int64_t most), (values, m, most))

/* Values up to `most`; what is above, or below zero, is null. */
static void put(const out_t *out, int number, const int64_t *values, int64_t most, bool narrow) {
    if (!values) return;
    flowpeer_column *column = &out->rows->columns[number];
    int64_t picked[N];
    if (!out->all) {
        for (int i = 0; i < out->m; i++) picked[i] = values[out->pick[i]];
        values = picked;
    }
    const common_t all = compare(values, out->m, most);
    if (all.none >> 63) return;
    if (!all.other && !(all.null >> 63) && goes_on(column, out->at, values[0], out->m)) return;
    break_off(column);
    if (narrow) {
        int32_t some[N];
        for (int i = 0; i < out->m; i++) some[i] = (int32_t)(uint32_t)(uint64_t)values[i];
        memcpy(column->values + out->at * 4, some, (size_t)out->m * 4);
    } else
        memcpy(column->values + out->at * 8, values, (size_t)out->m * 8);
    if (!(all.null >> 63)) {
        know(column, out->at, out->m);
        return;
    }
    begin_bits(column);
    for (int i = 0; i < out->m; i++) {
        if (values[i] < 0 || values[i] > most) continue;
        column->valid[(out->at + i) >> 3] |= (uint8_t)(1 << ((out->at + i) & 7));
        column->known++;
    }
}

/* The values of a key straight from the records into its column, where that is all there is to do:
 * nobody has read them before, all are wanted, and each fits. */
static bool put_straight(const out_t *out, int number, const strip_t *s, int key, bool narrow) {
    int64_t place = place_of(s, key), length = s->layout->length[key];
    if (!out->all || s->sample || s->read[key] || place < 0 || length < 1 ||
        length > (narrow ? 2 : 4) ||
        length == 3)
        return false;
    flowpeer_column *column = &out->rows->columns[number];
    break_off(column);
    const uint8_t *const *record = s->at;
    const int m = out->m;
#define STRAIGHT(type_t, read)                                                   \
    {                                                                            \
        uint8_t *to = column->values + out->at * (int64_t)sizeof(type_t);        \
        _Pragma("GCC unroll 4") for (int i = 0; i < m; i++) {                    \
            type_t value = (type_t)(read);                                       \
            memcpy(to + (size_t)i * sizeof value, &value, sizeof value);         \
        }                                                                        \
    }
    if (narrow && length == 1)
        STRAIGHT(int32_t, record[i][place])
    else if (narrow)
        STRAIGHT(int32_t, big16(record[i] + place))
    else if (length == 1)
        STRAIGHT(int64_t, record[i][place])
    else if (length == 2)
        STRAIGHT(int64_t, big16(record[i] + place))
    else
        STRAIGHT(int64_t, big32(record[i] + place))
#undef STRAIGHT
    know(column, out->at, out->m);
    return true;
}

static void put_wide(const out_t *out, int number, const int64_t *values) {
    put(out, number, values, MOST, false);
}

static void put_narrow(const out_t *out, int number, const int64_t *values) {
    put(out, number, values, INT32_MAX, true);
}

static void put_key(const out_t *out, int number, strip_t *s, int key, bool narrow) {
    if (!put_straight(out, number, s, key, narrow))
        put(out, number, get(s, key), narrow ? INT32_MAX : MOST, narrow);
}

/* Values that are never null, whatever they are. */
static void put_times(const out_t *out, int number, const int64_t *values) {
    flowpeer_column *column = &out->rows->columns[number];
    int64_t picked[N];
    if (!out->all) {
        for (int i = 0; i < out->m; i++) picked[i] = values[out->pick[i]];
        values = picked;
    }
    memcpy(column->values + out->at * 8, values, (size_t)out->m * 8);
    column->known += out->m;
}

/* What each set says in `member`, of 8 octets, of its records: n values in `made`. */
static void each(const strip_t *s, size_t member, int64_t *made) {
    for (EACH_PART(s)) {
        int64_t value;
        memcpy(&value, (const char *)part->set + member, 8);
        for (int i = part->from; i < part->to; i++) made[i] = value;
    }
}

/* The rows of a part, from `at`, have one value; below zero it is null. */
static void put_alike(flowpeer_column *column, int64_t at, int64_t count, int64_t value) {
    if (!count || value < 0 || goes_on(column, at, value, count)) return;
    break_off(column);
    const int32_t narrow = (int32_t)value;
    for (int64_t i = at; i < at + count && column->width == 4; i++)
        memcpy(column->values + i * 4, &narrow, 4);
    for (int64_t i = at; i < at + count && column->width == 8; i++)
        memcpy(column->values + i * 8, &value, 8);
    know(column, at, count);
}

/* A column of what sets say in `member`, of 8 octets or 4, times `unit`; below zero it is null. */
static void put_each(const out_t *out, int number, const strip_t *s, size_t member, bool narrow,
                     int64_t unit) {
    flowpeer_column *column = &out->rows->columns[number];
    int64_t at = out->at;
    for (EACH_PART(s)) {
        const char *from = (const char *)part->set + member;
        int64_t value;
        int32_t some;
        memcpy(&value, from, narrow ? 0 : 8);
        memcpy(&some, from, 4);
        put_alike(column, at, part->kept, narrow ? some : value < 0 ? -1 : value * unit);
        at += part->kept;
    }
}

/* Addresses: of the record's IPv4 field where `four` says so, else of its IPv6 field. */
static void put_address(const out_t *out, int number, const strip_t *s, int key4, int key6,
                        const bool *four) {
    int64_t at4 = address_of(s, key4, 4), at6 = address_of(s, key6, 16);
    if (at4 < 0 && at6 < 0) return;
    flowpeer_column *column = &out->rows->columns[number];
    uint8_t *to = column->values + out->at * 16;
    bool four_only = out->all && at6 < 0; /* as of most records */
    for (int j = 0; j < out->m && four_only; j++, to += 16) {
        uint64_t half[2] = {0, 0};
        memcpy(half, MAPPED, 12);
        memcpy((uint8_t *)half + 12, s->at[j] + at4, 4);
        memcpy(to, half, 16);
    }
    for (int j = 0; j < out->m && !four_only; j++, to += 16) {
        int i = out->all ? j : out->pick[j];
        if (at4 >= 0 && (at6 < 0 || four[i])) {
            memcpy(to, MAPPED, 12);
            memcpy(to + 12, s->at[i] + at4, 4);
        } else
            memcpy(to, s->at[i] + at6, 16);
    }
    know(column, out->at, out->m);
}

/* ---- rules: flowpeer_ingest/flow_rules.py ---- */

static bool any16(const uint8_t *at) {
    uint64_t a, b;
    memcpy(&a, at, 8);
    memcpy(&b, at + 8, 8);
    return (a | b) != 0;
}

static bool any4(const uint8_t *at) {
    return big32(at) != 0;
}

/* Which records are IPv4: `families`. */
static void families(const strip_t *s, bool *four) {
    int64_t a4[2] = {address_of(s, KEY_SRC4, 4), address_of(s, KEY_DST4, 4)};
    int64_t a6[2] = {address_of(s, KEY_SRC6, 16), address_of(s, KEY_DST6, 16)};
    bool some4 = a4[0] >= 0 || a4[1] >= 0, some6 = a6[0] >= 0 || a6[1] >= 0;
    memset(four, some4, (size_t)s->n);
    if (!some4 || !some6) return;
    for (int i = 0; i < s->n; i++) {
        const uint8_t *at = s->at[i];
        bool said4 = (a4[0] >= 0 && any4(at + a4[0])) || (a4[1] >= 0 && any4(at + a4[1]));
        bool said6 = (a6[0] >= 0 && any16(at + a6[0])) || (a6[1] >= 0 && any16(at + a6[1]));
        four[i] = said4 || !said6;
    }
}

static void hop_families(const strip_t *s, int key4, int key6, const bool *four, bool *hop) {
    int64_t a4 = address_of(s, key4, 4), a6 = address_of(s, key6, 16);
    memset(hop, true, (size_t)s->n);
    if (a4 < 0 || a6 < 0) return;
    for (int i = 0; i < s->n; i++) {
        bool some4 = any4(s->at[i] + a4), some6 = any16(s->at[i] + a6);
        hop[i] = four[i] ? some4 || !some6 : some4 && !some6;
    }
}

/* The length of a prefix: of the family that the layout has, or each record's. */
static void put_mask(const out_t *out, int number, strip_t *s, int key4, int key6,
                     const bool *four) {
    bool has4 = place_of(s, key4) >= 0, has6 = place_of(s, key6) >= 0;
    if (!has4 || !has6) {
        put_key(out, number, s, has6 ? key6 : key4, true);
        return;
    }
    const int64_t *m4 = get(s, key4), *m6 = get(s, key6);
    int64_t made[N];
    for (int i = 0; i < s->n; i++) made[i] = four[i] ? m4[i] : m6[i];
    put_narrow(out, number, made);
}

/* Does the layout state an ICMP type, which then stands for a port? */
static bool has_icmp(const strip_t *s) {
    return place_of(s, KEY_ICMP4) >= 0 || place_of(s, KEY_ICMP4_TYPE) >= 0 ||
           place_of(s, KEY_ICMP6) >= 0 || place_of(s, KEY_ICMP6_TYPE) >= 0;
}

static const int64_t *destination_port(strip_t *s, int64_t *out) {
    const int64_t *port = get(s, KEY_DST_PORT), *protocol = get(s, KEY_PROTOCOL);
    for (int family = 0; family < 2; family++) {
        const int64_t *both = get(s, family ? KEY_ICMP6 : KEY_ICMP4);
        const int64_t *type = get(s, family ? KEY_ICMP6_TYPE : KEY_ICMP4_TYPE);
        const int64_t *code = get(s, family ? KEY_ICMP6_CODE : KEY_ICMP4_CODE);
        if (!both && !type) continue;
        for (int i = 0; i < s->n; i++) {
            int64_t value = both ? both[i] : -1;
            if (type && value <= 0) {
                value = type[i] > MOST >> 8 ? MOST : type[i] * 256;
                value = sum(value, code ? code[i] : 0);
            }
            int64_t now = port ? port[i] : -1;
            bool mine = !protocol || protocol[i] == (family ? 58 : 1);
            out[i] = mine && now <= 0 ? value : now;
        }
        port = out;
    }
    return port;
}

/* The first of three keys that the layout has. */
static const int64_t *first_of(strip_t *s, int a, int b, int c) {
    const int64_t *found = get(s, a);
    if (!found) found = get(s, b);
    return found ? found : get(s, c);
}

ANY void say(int64_t *out, int i, int64_t value) {
    out[i] = out[i] < 0 ? value : out[i];
}

/* The same of times of a router that has run for `uptime` ms at `sent`, ms since the epoch. */
ANY void say_uptimes(int64_t *out, const int64_t *v, int from, int to, int64_t sent, int64_t uptime,
                     int64_t future_ms) {
    if (sent < 0 || uptime < 0) return;
    for (int i = from; i < to; i++) {
        int64_t ago = (uptime - v[i]) & UPTIME;
        ago -= ago > UPTIME - future_ms ? UPTIME + 1 : 0;
        int64_t at = (sent - ago) * 1000;
        out[i] = ((out[i] < 0) & (v[i] <= UPTIME)) ? at : out[i];
    }
}

/* Start or end by the exporter's clock, µs since the epoch, -1 unknown. `keys`: ntp_ns, ntp, ms, s,
 * delta_us (or -1), uptime. */
ANY void instant(strip_t *s, const int *keys, int64_t *out) {
    const int64_t *v;
    for (int i = 0; i < s->n; i++) out[i] = -1;
    for (int k = 0; k < 2; k++)
        if ((v = get(s, keys[k])))
            for (int i = 0; i < s->n; i++) say(out, i, v[i] > 0 ? v[i] : -1);
    for (int k = 2; k < 4; k++) {
        int64_t unit = k == 2 ? 1000 : 1000000, latest = s->limits->latest_ms * 1000 / unit;
        if ((v = get(s, keys[k])))
            for (int i = 0; i < s->n; i++)
                say(out, i, v[i] > 0 && v[i] < latest ? v[i] * unit : -1);
    }
    if (keys[4] >= 0 && (v = get(s, keys[4])))
        for (EACH_PART(s))
            for (int i = part->from; i < part->to && part->set->export_ms >= 0; i++)
                say(out, i, v[i] <= UPTIME ? part->set->export_ms * 1000 - v[i] : -1);
    if (!(v = get(s, keys[5]))) return;
    const int64_t *boot = get(s, KEY_BOOT_MS), future_ms = s->limits->future_ms;
    for (EACH_PART(s)) {
        const int64_t sent = part->set->export_ms, up = part->set->uptime_ms;
        if (!boot) say_uptimes(out, v, part->from, part->to, sent, up, future_ms);
        for (int i = part->from; i < part->to && boot; i++) {
            bool own = boot[i] > 0 && boot[i] < s->limits->latest_ms;
            say_uptimes(out, v, i, i + 1, sent, own ? (sent - boot[i]) & UPTIME : up, future_ms);
        }
    }
}

static const int STARTS[] = {KEY_START_NTP_NS, KEY_START_NTP, KEY_START_MS,
                             KEY_START_S, KEY_START_DELTA_US, KEY_START_UPTIME};
static const int ENDS[] = {KEY_END_NTP_NS, KEY_END_NTP, KEY_END_MS,
                           KEY_END_S, KEY_END_DELTA_US, KEY_END_UPTIME};
static const int BACK_STARTS[] = {KEY_REVERSE_START_NTP_NS, KEY_REVERSE_START_NTP,
                                  KEY_REVERSE_START_MS, KEY_REVERSE_START_S,
                                  -1, KEY_REVERSE_START_UPTIME};
static const int BACK_ENDS[] = {KEY_REVERSE_END_NTP_NS, KEY_REVERSE_END_NTP, KEY_REVERSE_END_MS,
                                KEY_REVERSE_END_S, -1, KEY_REVERSE_END_UPTIME};

ANY void times(strip_t *s, bool back, int64_t *start, int64_t *end) {
    const int64_t *v;
    instant(s, back ? BACK_STARTS : STARTS, start);
    instant(s, back ? BACK_ENDS : ENDS, end);
    for (int k = 0; k < 2; k++)
        if ((v = get(s, k ? KEY_DURATION_MS : KEY_DURATION_US)))
            for (int i = 0; i < s->n; i++) {
                int64_t lasted = v[i] < UPTIME ? v[i] * (k ? 1000 : 1) : 0;
                int64_t was = start[i];
                if (was < 0 && end[i] >= 0) start[i] = end[i] - lasted;
                if (end[i] < 0 && was >= 0) end[i] = was + lasted;
            }
    for (int k = 0; k < 2; k++) {
        int64_t unit = k ? 1000000 : 1000, latest = s->limits->latest_ms * 1000 / unit;
        if ((v = get(s, k ? KEY_OBSERVED_S : KEY_OBSERVED_MS)))
            for (int i = 0; i < s->n; i++)
                say(end, i, v[i] > 0 && v[i] < latest ? v[i] * unit : -1);
    }
    for (int i = 0; i < s->n; i++) {
        start[i] = start[i] < 0 ? end[i] : start[i];
        end[i] = end[i] < 0 ? start[i] : end[i];
    }
}

/* METHODS M3: how far the exporter's clock is behind the receiver's, 0 within the tolerance. */
static int64_t clock_error(const flowpeer_limits *limits, const flowpeer_set *set) {
    int64_t error = set->export_ms >= 0 ? set->received_us - set->export_ms * 1000 : 0;
    return error >= -limits->clock_tolerance_us && error <= limits->clock_tolerance_us ? 0 : error;
}

static int64_t common_divisor(int64_t a, int64_t b) {
    while (b) {
        int64_t rest = a % b;
        a = b, b = rest;
    }
    return a;
}

/* The rate top / bottom reduced, 0 / 0 where it is none: false where it is beyond all rates. */
static bool ratio(const flowpeer_limits *limits, int64_t *top, int64_t *bottom) {
    int64_t whole = *bottom > 0 ? *top / *bottom : 0;
    bool beyond = whole > limits->most_sampling ||
                  (whole == limits->most_sampling && *top % *bottom > 0);
    if (beyond || whole < 1) {
        *top = *bottom = 0;
        return !beyond;
    }
    for (int round = 0; round < 2; round++) {
        int64_t by = common_divisor(*top, *bottom);
        *top /= by, *bottom /= by;
        while (*bottom > limits->most_denominator && *bottom > 1)
            *top = (*top >> 1) + (*top & 1), *bottom = (*bottom >> 1) + (*bottom & 1);
    }
    return true;
}

/* Do records themselves state rates? */
static bool state_rates(const strip_t *s) {
    return place_of(s, KEY_SAMPLING_INTERVAL) >= 0 ||
           place_of(s, KEY_SAMPLER_RANDOM_INTERVAL) >= 0 ||
           place_of(s, KEY_SAMPLING_PACKET_INTERVAL) >= 0 ||
           place_of(s, KEY_SAMPLING_POPULATION) >= 0;
}

/* The rates that records themselves state, 0 where they do not. */
static void own_rates(strip_t *s, int64_t *top, int64_t *bottom, bool *fine) {
    const int64_t *v = get(s, KEY_SAMPLING_INTERVAL);
    for (int i = 0; i < s->n; i++) top[i] = v ? v[i] : 0, bottom[i] = 1;
    memset(fine, true, (size_t)s->n);
    if (!state_rates(s)) return;
    if ((v = get(s, KEY_SAMPLER_RANDOM_INTERVAL)))
        for (int i = 0; i < s->n; i++) top[i] = v[i] > 0 ? v[i] : top[i];
    if ((v = get(s, KEY_SAMPLING_PACKET_INTERVAL))) {
        const int64_t *space = get(s, KEY_SAMPLING_PACKET_SPACE);
        for (int i = 0; i < s->n; i++) {
            if (v[i] <= 0) continue;
            top[i] = v[i];
            if (!space) continue;
            int64_t a = v[i] < MOST >> 1 ? v[i] : MOST >> 1;
            top[i] = a + (space[i] < MOST >> 1 ? space[i] : MOST >> 1);
            bottom[i] = a;
        }
    }
    const int64_t *size = get(s, KEY_SAMPLING_SIZE), *all = get(s, KEY_SAMPLING_POPULATION);
    if (size && all)
        for (int i = 0; i < s->n; i++)
            if (size[i] > 0 && all[i] > 0) top[i] = all[i], bottom[i] = size[i];
    for (int i = 0; i < s->n; i++) fine[i] = ratio(s->limits, &top[i], &bottom[i]);
}

/* The rate of a number among `count` pairs, 0 if it is not there. */
static int64_t rate_of(const int64_t *pairs, int64_t count, int64_t number) {
    int64_t low = 0, high = count;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (pairs[2 * middle] < number)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && pairs[2 * low] == number ? pairs[2 * low + 1] : 0;
}

/* METHODS M2: the rate of a record that states none, by options data; 0 unknown. */
static int64_t announced(const flowpeer_rates *rates, const int64_t *sampler, int64_t interface) {
    int64_t found = 0;
    if (sampler) found = rate_of(rates->samplers, rates->sampler_count, *sampler);
    if (!found) found = rate_of(rates->interfaces, rates->interface_count, interface);
    if (!found) found = rates->wide;
    return !found && (!sampler || *sampler < 0) ? rates->only : found;
}

/* METHODS M2: N of each record, and what it or its header states itself; -1 unknown. Counts in
 * tallies those whose own rate is beyond all, unless they are `counted` already. */
static void sampling(strip_t *s, const flowpeer_rows *rows, int64_t *rate, int64_t *top,
                     int64_t *bottom, bool counted) {
    bool fine[N];
    own_rates(s, top, bottom, fine);
    const int64_t *sampler = get(s, KEY_SAMPLER_ID), *direction = get(s, KEY_DIRECTION);
    const int64_t *in = get(s, KEY_INPUT_IF), *out = get(s, KEY_OUTPUT_IF);
    for (EACH_PART(s)) {
        const flowpeer_set *set = part->set;
        const flowpeer_rates *rates = &rows->rates[set->rates];
        int64_t beyond = 0, last[3] = {0, 0, -1}; /* sampler, interface and their rate */
        for (int i = part->from; i < part->to; i++) {
            beyond += !fine[i];
            if (fine[i] && top[i] == 0 && set->sampling > 0) top[i] = set->sampling, bottom[i] = 1;
            int64_t found = 0;
            if (top[i] > 0)
                found = bottom[i] == 1 ? top[i] : (2 * top[i] + bottom[i]) / (2 * bottom[i]);
            else if (fine[i] && top[i] == 0) {
                int64_t interface = in ? in[i] : -1;
                if (direction && out && direction[i] == 1) interface = out[i];
                int64_t number = sampler ? sampler[i] : 0;
                if (last[2] < 0 || number != last[0] || interface != last[1]) {
                    last[0] = number, last[1] = interface;
                    last[2] = announced(rates, sampler ? &sampler[i] : NULL, interface);
                }
                found = last[2];
            }
            rate[i] = found > 0 ? found : -1;
            if (top[i] == 0) top[i] = bottom[i] = -1;
        }
        if (!counted) rows->tallies[set->exporter].sampling_beyond += beyond;
    }
}

/* Has each part one rate: that of its header, or of one sampler? */
static bool one_rate_each(strip_t *s, const flowpeer_rows *rows) {
    const int64_t *sampler = get(s, KEY_SAMPLER_ID);
    int64_t other = state_rates(s);
    for (EACH_PART(s)) {
        other |= rows->rates[part->set->rates].interface_count > 0;
        for (int i = part->from; sampler && i < part->to; i++)
            other |= sampler[i] ^ sampler[part->from];
    }
    return !other;
}

static void put_sampling(const out_t *out, strip_t *s, bool counted) {
    flowpeer_column *column = out->rows->columns;
    if (!one_rate_each(s, out->rows)) {
        int64_t rate[N], top[N], bottom[N];
        sampling(s, out->rows, rate, top, bottom, counted);
        put_wide(out, COLUMN_SAMPLING_INTERVAL, rate);
        put_wide(out, COLUMN_SAMPLING_NUMERATOR, top);
        put_wide(out, COLUMN_SAMPLING_DENOMINATOR, bottom);
        return;
    }
    const int64_t *sampler = get(s, KEY_SAMPLER_ID);
    int64_t at = out->at;
    for (EACH_PART(s)) {
        int64_t own = part->set->sampling > 0 ? part->set->sampling : -1, rate = own;
        if (own < 0)
            rate = announced(&out->rows->rates[part->set->rates],
                             sampler ? sampler + part->from : NULL, -1);
        put_alike(column + COLUMN_SAMPLING_INTERVAL, at, part->kept, rate > 0 ? rate : -1);
        put_alike(column + COLUMN_SAMPLING_NUMERATOR, at, part->kept, own);
        put_alike(column + COLUMN_SAMPLING_DENOMINATOR, at, part->kept, own > 0 ? 1 : -1);
        at += part->kept;
    }
}

/* bytes and packets of the flow, and of its reverse flow. */
typedef struct {
    const int64_t *bytes, *packets, *reverse_bytes, *reverse_packets;
} counters_t;

static counters_t counters(strip_t *s) {
    counters_t out;
    out.bytes = first_of(s, KEY_BYTES_DELTA, KEY_BYTES_TOTAL, KEY_BYTES_INITIATOR);
    out.packets = first_of(s, KEY_PACKETS_DELTA, KEY_PACKETS_TOTAL, KEY_PACKETS_INITIATOR);
    out.reverse_bytes =
        first_of(s, KEY_REVERSE_BYTES_DELTA, KEY_REVERSE_BYTES_TOTAL, KEY_REVERSE_BYTES_TOTAL);
    out.reverse_packets =
        first_of(s, KEY_REVERSE_PACKETS_DELTA, KEY_REVERSE_PACKETS_TOTAL, KEY_REVERSE_PACKETS_TOTAL);
    bool plain = place_of(s, KEY_BYTES_DELTA) >= 0 || place_of(s, KEY_PACKETS_DELTA) >= 0 ||
                 place_of(s, KEY_BYTES_TOTAL) >= 0 || place_of(s, KEY_PACKETS_TOTAL) >= 0;
    bool event = place_of(s, KEY_BYTES_INITIATOR) >= 0 || place_of(s, KEY_PACKETS_INITIATOR) >= 0;
    if (!plain && event) {
        if (!out.reverse_bytes) out.reverse_bytes = get(s, KEY_BYTES_RESPONDER);
        if (!out.reverse_packets) out.reverse_packets = get(s, KEY_PACKETS_RESPONDER);
    }
    return out;
}

/* ---- rows ---- */

/* Why a record is set aside, IMPLAUSIBLE if it is not. */
static int implausible(const flowpeer_limits *limits, int64_t bytes, int64_t packets, int64_t start,
                       int64_t end) {
    if (bytes > limits->most) return IMPLAUSIBLE_BYTES;
    if (packets > limits->most) return IMPLAUSIBLE_PACKETS;
    if (bytes >= 0 && packets > 0 && bytes < limits->least_octets * packets)
        return IMPLAUSIBLE_SMALL;
    if (start < 0 || end < 0) return IMPLAUSIBLE;
    if (end < start - limits->backwards_us) return IMPLAUSIBLE_BACKWARDS;
    return end - start > limits->longest_us ? IMPLAUSIBLE_LONG : IMPLAUSIBLE;
}

static void copy_address(uint8_t *to, const strip_t *s, int i, int key4, int key6, bool four) {
    int64_t at4 = address_of(s, key4, 4), at6 = address_of(s, key6, 16);
    memset(to, 0, 16);
    if (at4 >= 0 && (at6 < 0 || four)) {
        memcpy(to, MAPPED, 12);
        memcpy(to + 12, s->at[i] + at4, 4);
    } else if (at6 >= 0)
        memcpy(to, s->at[i] + at6, 16);
}

static int64_t at_most(const flowpeer_limits *limits, int64_t value) {
    return value < 0 ? 0 : value > limits->most ? limits->most : value;
}

/* Count a record that is set aside, and keep it where there are few of its exporter and reason. */
static void set_aside(flowpeer_rows *rows, strip_t *s, const flowpeer_set *set, int i, bool back,
                      int reason, int64_t bytes, int64_t packets, int64_t start, int64_t end) {
    flowpeer_tally *tally = &rows->tallies[set->exporter];
    tally->implausible_octets[reason] =
        sum(tally->implausible_octets[reason], at_most(s->limits, bytes));
    tally->implausible_packets[reason] =
        sum(tally->implausible_packets[reason], at_most(s->limits, packets));
    if (tally->implausible[reason]++ >= FLOWPEER_IMPLAUSIBLE_EACH ||
        rows->sampled < 0 || rows->sampled >= FLOWPEER_IMPLAUSIBLE_ROOM)
        return;
    bool four[N];
    families(s, four);
    const int64_t *in = get(s, back ? KEY_OUTPUT_IF : KEY_INPUT_IF);
    const int64_t *out = get(s, back ? KEY_INPUT_IF : KEY_OUTPUT_IF);
    flowpeer_implausible *one = &rows->sample[rows->sampled++];
    *one = (flowpeer_implausible){
        .exporter = set->exporter, .reason = reason, .received_us = set->received_us,
        .domain = set->domain, .input_if = in ? in[i] : -1, .output_if = out ? out[i] : -1,
        .octets = bytes, .packets = packets, .start_us = start, .end_us = end,
    };
    copy_address(back ? one->dst : one->src, s, i, KEY_SRC4, KEY_SRC6, four[i]);
    copy_address(back ? one->src : one->dst, s, i, KEY_DST4, KEY_DST6, four[i]);
}

/* Takes a set of which there are rows into account; `first`: the first such set. */
static void add_made(flowpeer_made *made, const flowpeer_set *set, bool first) {
    if (first)
        *made = (flowpeer_made){set->received_us, set->received_us, 0, 0, 0,
                                {set->exporter, set->exporter}, {set->format, set->format}};
    if (set->received_us < made->first_us) made->first_us = set->received_us;
    if (set->received_us > made->last_us) made->last_us = set->received_us;
    if (set->exporter < made->exporters[0]) made->exporters[0] = set->exporter;
    if (set->exporter > made->exporters[1]) made->exporters[1] = set->exporter;
    if (set->format < made->formats[0]) made->formats[0] = set->format;
    if (set->format > made->formats[1]) made->formats[1] = set->format;
}

/* Rows that are made of a strip: of the records `pick`. */
typedef struct {
    int m;
    uint8_t pick[N];
    bool corrected[N]; /* by record */
    int64_t start[N], end[N];
    const int64_t *bytes, *packets;                         /* NULL: not stated */
    int64_t octets, some_packets, corrections, long_flows; /* of a part */
} chosen_t;

/* Takes all records of a part, if each is plausible and its times are usable, as nearly all are. */
ANY bool take_all_any(const flowpeer_limits *limits, const part_t *part, chosen_t *out) {
    const flowpeer_set *set = part->set;
    const int64_t error = clock_error(limits, set), most = limits->most;
    const int64_t longest = 2 * set->timeout_us + limits->slack_us, long_us = limits->long_us;
    const int64_t oldest = set->received_us - limits->oldest_us;
    const int64_t newest = set->received_us + limits->newest_us;
    const uint64_t least = (uint64_t)limits->least_octets;
    const int64_t *bytes = out->bytes, *packets = out->packets;
    int64_t *start = out->start, *end = out->end;
    int64_t odd = longest > limits->longest_us, long_flows = 0;
    uint64_t octets = 0, some_packets = 0; /* if none is odd, each is up to 2^48 */
    for (int i = part->from; i < part->to; i++) {
        const int64_t b = bytes[i], p = packets[i], from = start[i] + error, to = end[i] + error;
        odd |= (int64_t)(b > most) | (p > most) | ((b >= 0) & (b < (int64_t)(least * (uint64_t)p))) |
               (start[i] < 0) | (end[i] < 0) | (from > to) | (from < oldest) | (to > newest) |
               (to - from > longest);
        long_flows += to - from > long_us;
        octets += (uint64_t)(b > 0 ? b : 0);
        some_packets += (uint64_t)(p > 0 ? p : 0);
    }
    if (odd) return false;
    for (int i = part->from; i < part->to && error; i++) start[i] += error, end[i] += error;
    for (int i = part->from; i < part->to; i++) out->pick[out->m++] = (uint8_t)i;
    memset(out->corrected + part->from, false, (size_t)(part->to - part->from));
    out->octets = (int64_t)octets, out->some_packets = (int64_t)some_packets;
    out->long_flows = long_flows;
    return true;
}
TWICE(bool, take_all, (const flowpeer_limits *limits, const part_t *part, chosen_t *out),
      (limits, part, out))

/* Takes the plausible ones of a part (METHODS M1), at times on the receiver's clock that are always
 * usable (METHODS M3). */
static void take_some(flowpeer_rows *rows, strip_t *s, const part_t *part, bool back,
                      chosen_t *out) {
    const flowpeer_limits *limits = s->limits;
    const flowpeer_set *set = part->set;
    flowpeer_tally *tally = &rows->tallies[set->exporter];
    const int64_t received = set->received_us, error = clock_error(limits, set);
    for (int i = part->from; i < part->to; i++) {
        int64_t b = out->bytes ? out->bytes[i] : -1, p = out->packets ? out->packets[i] : -1;
        if (back && b <= 0 && p <= 0) continue;
        int64_t start = out->start[i], end = out->end[i];
        int reason = implausible(limits, b, p, start, end);
        if (reason != IMPLAUSIBLE) {
            tally->records++;
            tally->octets = sum(tally->octets, at_most(limits, b));
            set_aside(rows, s, set, i, back, reason, b, p, start, end);
            continue;
        }
        int64_t from = start + error, to = end + error;
        bool usable = start >= 0 && end >= 0 && from <= to &&
                      from >= received - limits->oldest_us && to <= received + limits->newest_us &&
                      to - from <= 2 * set->timeout_us + limits->slack_us;
        out->start[i] = usable ? from : received - set->timeout_us;
        out->end[i] = usable ? to : received;
        out->corrected[i] = !usable;
        out->corrections += !usable;
        out->long_flows += out->end[i] - out->start[i] > limits->long_us;
        out->octets += b > 0 ? b : 0;
        out->some_packets += p > 0 ? p : 0;
        out->pick[out->m++] = (uint8_t)i;
    }
}

/* Decides which records of a strip become rows, and counts them. */
static void choose(flowpeer_rows *rows, strip_t *s, bool back, chosen_t *out) {
    for (part_t *part = s->part; part < s->part + s->part_count; part++) {
        flowpeer_tally *tally = &rows->tallies[part->set->exporter];
        const int before = out->m;
        out->octets = out->some_packets = out->corrections = out->long_flows = 0;
        if (back || !out->bytes || !out->packets || !take_all(s->limits, part, out))
            take_some(rows, s, part, back, out);
        part->kept = out->m - before;
        tally->records += part->kept;
        tally->octets = sum(tally->octets, out->octets);
        tally->corrected += out->corrections;
        tally->long_flows += out->long_flows;
        if (!part->kept) continue;
        add_made(&rows->made, part->set, rows->rows + out->m == part->kept);
        rows->made.octets += out->octets, rows->made.packets += out->some_packets;
        rows->made.corrected += out->corrections;
    }
}

/* Times of a strip by the exporter's clock, -1 unknown. */
ANY void all_times_any(strip_t *s, bool back, int64_t *start, int64_t *end) {
    times(s, false, start, end);
    if (!back) return;
    int64_t back_start[N], back_end[N];
    times(s, true, back_start, back_end);
    for (int i = 0; i < s->n; i++) {
        if (back_start[i] >= 0) start[i] = back_start[i];
        if (back_end[i] >= 0) end[i] = back_end[i];
    }
}
TWICE(void, all_times, (strip_t *s, bool back, int64_t *start, int64_t *end), (s, back, start, end))

static void write_rows(flowpeer_rows *rows, strip_t *s, bool back) {
    counters_t count = counters(s);
    int64_t made[N];
    chosen_t chosen; /* large: only what is read is ever written */
    chosen.m = 0;
    const int64_t *bytes = chosen.bytes = back ? count.reverse_bytes : count.bytes;
    const int64_t *packets = chosen.packets = back ? count.reverse_packets : count.packets;
    if (s->format == FORMAT_SFLOW5) {
        each(s, offsetof(flowpeer_set, received_us), chosen.start);
        memcpy(chosen.end, chosen.start, (size_t)s->n * 8);
    } else
        all_times(s, back, chosen.start, chosen.end);
    choose(rows, s, back, &chosen);
    const int m = chosen.m;
    out_t out = {rows, rows->rows, m, m == s->n, chosen.pick};
    put_times(&out, COLUMN_START_TIME, chosen.start);
    put_times(&out, COLUMN_END_TIME, chosen.end);
    put_each(&out, COLUMN_RECEIVED_AT, s, offsetof(flowpeer_set, received_us), false, 1);
    put_each(&out, COLUMN_EXPORTER_IP, s, offsetof(flowpeer_set, exporter), true, 1);
    put_each(&out, COLUMN_OBSERVATION_DOMAIN, s, offsetof(flowpeer_set, domain), false, 1);
    put_each(&out, COLUMN_FORMAT, s, offsetof(flowpeer_set, format), true, 1);
    put_each(&out, COLUMN_SESSION, s, offsetof(flowpeer_set, session), false, 1);
    put_each(&out, COLUMN_DATAGRAM_SEQUENCE, s, offsetof(flowpeer_set, sequence), false, 1);
    put_each(&out, COLUMN_EXPORT_TIME, s, offsetof(flowpeer_set, export_ms), false, 1000);
    put_key(&out, back ? COLUMN_OUTPUT_IF : COLUMN_INPUT_IF, s, KEY_INPUT_IF, false);
    put_key(&out, back ? COLUMN_INPUT_IF : COLUMN_OUTPUT_IF, s, KEY_OUTPUT_IF, false);
    bool four[N], hop[N];
    families(s, four);
    put_address(&out, back ? COLUMN_DST_ADDR : COLUMN_SRC_ADDR, s, KEY_SRC4, KEY_SRC6, four);
    put_address(&out, back ? COLUMN_SRC_ADDR : COLUMN_DST_ADDR, s, KEY_DST4, KEY_DST6, four);
    put_key(&out, back ? COLUMN_DST_PORT : COLUMN_SRC_PORT, s, KEY_SRC_PORT, true);
    if (has_icmp(s))
        put_narrow(&out, back ? COLUMN_SRC_PORT : COLUMN_DST_PORT, destination_port(s, made));
    else
        put_key(&out, back ? COLUMN_SRC_PORT : COLUMN_DST_PORT, s, KEY_DST_PORT, true);
    put_key(&out, COLUMN_PROTOCOL, s, KEY_PROTOCOL, true);
    bool tos = back && place_of(s, KEY_REVERSE_TOS) >= 0;
    put_key(&out, COLUMN_TOS, s, tos ? KEY_REVERSE_TOS : KEY_TOS, true);
    put_key(&out, COLUMN_TCP_FLAGS, s, back ? KEY_REVERSE_TCP_FLAGS : KEY_TCP_FLAGS, true);
    put_wide(&out, COLUMN_BYTES, bytes);
    put_wide(&out, COLUMN_PACKETS, packets);
    put_sampling(&out, s, back);
    put_wide(&out, COLUMN_SAMPLER_ID, get(s, KEY_SAMPLER_ID)); /* mostly one for all */
    put_key(&out, back ? COLUMN_DST_AS : COLUMN_SRC_AS, s, KEY_SRC_AS, false);
    put_key(&out, back ? COLUMN_SRC_AS : COLUMN_DST_AS, s, KEY_DST_AS, false);
    put_mask(&out, back ? COLUMN_DST_MASK : COLUMN_SRC_MASK, s, KEY_SRC_MASK4, KEY_SRC_MASK6, four);
    put_mask(&out, back ? COLUMN_SRC_MASK : COLUMN_DST_MASK, s, KEY_DST_MASK4, KEY_DST_MASK6, four);
    put_key(&out, back ? COLUMN_DST_MAC : COLUMN_SRC_MAC, s, KEY_SRC_MAC, false);
    put_key(&out, back ? COLUMN_SRC_MAC : COLUMN_DST_MAC, s, KEY_DST_MAC, false);
    if (!back) {
        put(&out, COLUMN_DIRECTION, get(s, KEY_DIRECTION), 1, true);
        put_key(&out, COLUMN_MIN_LENGTH, s, KEY_MIN_LENGTH, true);
        put_key(&out, COLUMN_MAX_LENGTH, s, KEY_MAX_LENGTH, true);
        hop_families(s, KEY_NEXT_HOP4, KEY_NEXT_HOP6, four, hop);
        put_address(&out, COLUMN_NEXT_HOP, s, KEY_NEXT_HOP4, KEY_NEXT_HOP6, hop);
        hop_families(s, KEY_BGP_NEXT_HOP4, KEY_BGP_NEXT_HOP6, four, hop);
        put_address(&out, COLUMN_BGP_NEXT_HOP, s, KEY_BGP_NEXT_HOP4, KEY_BGP_NEXT_HOP6, hop);
    }
    uint8_t *bits = rows->columns[COLUMN_TIME_CORRECTED].values;
    for (int i = 0; i < m && rows->made.corrected; i++)
        if (chosen.corrected[chosen.pick[i]]) bits[(out.at + i) >> 3] |= (uint8_t)(1 << ((out.at + i) & 7));
    rows->rows += m;
}

/* Writes a record of variable length out at its fixed size; false where it does not fit. */
static bool flatten(const flowpeer_layout *layout, span_t *rest, uint8_t *to) {
    uint8_t *stop = to + layout->flat_size;
    for (int32_t v = 0; v <= layout->variables; v++) {
        int64_t run = layout->runs[v];
        const uint8_t *octets = take(rest, run);
        if (!octets || run > stop - to) return false;
        memcpy(to, octets, (size_t)run);
        to += run;
        if (v == layout->variables) break;
        const uint8_t *size = take(rest, 1);
        if (!size) return false;
        int64_t length = *size;
        if (length == 255) {
            if (!(size = take(rest, 2))) return false;
            length = (int64_t)big16(size);
        }
        if (!(octets = take(rest, length))) return false;
        if (!layout->keeps[v]) continue;
        if (stop - to < 16) return false;
        int64_t last = length < 16 ? length : 16;
        memset(to, 0, 16);
        memcpy(to + 16 - last, octets + length - last, (size_t)last);
        to += 16;
    }
    return to == stop;
}

/* Puts records of a set behind those of a strip: of variable ones, written out in the scratch room.
 * Returns how many there was room for. */
static int64_t add_records(flowpeer_rows *rows, strip_t *s, const flowpeer_set *set, span_t *rest,
                           int64_t wanted) {
    const flowpeer_layout *layout = s->layout;
    int64_t most = layout->variables ? FLOWPEER_SCRATCH / s->size : N;
    if (most > N) most = N;
    if (wanted > most - s->n) wanted = most - s->n;
    for (int i = s->n; i < s->n + wanted; i++) {
        if (layout->variables) {
            uint8_t *to = rows->scratch + i * s->size;
            if (!flatten(layout, rest, to)) return FLOWPEER_ARGUMENT;
            s->at[i] = to;
        } else if (!(s->at[i] = take(rest, s->size)))
            return FLOWPEER_ARGUMENT;
        __builtin_prefetch((const void *)((uintptr_t)s->at[i] + (uintptr_t)(N * s->size))); /* next */
    }
    if (wanted) s->part[s->part_count++] = (part_t){set, s->n, s->n + (int)wanted, 0};
    s->n += (int)wanted;
    return wanted;
}

/* The layout of an sFlow sample of the elements in `mask`: sflow.c writes it out. */
static void layout_of_sample(uint32_t mask, flowpeer_layout *layout) {
    layout->minimum = layout->flat_size = FLOWPEER_SAMPLE_OCTETS;
    layout->variables = 0;
    for (int key = 0; key < KEYS; key++) layout->offset[key] = -1;
    for (int e = 0; e < ELEMENTS; e++) {
        if (!(mask >> e & 1)) continue;
        layout->offset[SAMPLE[e].key] = SAMPLE[e].offset;
        layout->length[SAMPLE[e].key] = SAMPLE[e].length;
    }
}

static bool has_reverse(const flowpeer_layout *layout) {
    return layout->offset[KEY_REVERSE_BYTES_DELTA] >= 0 ||
           layout->offset[KEY_REVERSE_PACKETS_DELTA] >= 0 ||
           layout->offset[KEY_REVERSE_BYTES_TOTAL] >= 0 ||
           layout->offset[KEY_REVERSE_PACKETS_TOTAL] >= 0 ||
           layout->offset[KEY_BYTES_RESPONDER] >= 0 || layout->offset[KEY_PACKETS_RESPONDER] >= 0;
}

/* Can this set be read, as far as it can be known before its records are? */
static bool in_order(const flowpeer_rows *rows, const flowpeer_set *set) {
    return set->exporter >= 0 && set->exporter < rows->exporters && set->base >= 0 &&
           set->base <= 1 && set->rates >= 0 && set->rates < rows->rates_count &&
           set->layout >= -1 && set->layout < rows->layout_count && set->count >= 0 &&
           set->at >= 0 && set->size >= 0 && set->at <= rows->base_size[set->base] &&
           set->size <= rows->base_size[set->base] - set->at;
}

static void flush(flowpeer_rows *rows, strip_t *s, bool back) {
    memset(s->read, 0, sizeof s->read);
    if (s->n) write_rows(rows, s, back);
    s->n = s->part_count = 0;
}

/* Reads sets that lie alike. */
static int64_t read_sets(flowpeer_rows *rows, const flowpeer_layout *layout,
                         const flowpeer_set *sets, int64_t count, bool back) {
    strip_t s; /* large: only what is read is ever written */
    s.size = layout->variables ? layout->flat_size : layout->minimum;
    if (layout->variables && !s.size) s.size = 1; /* nothing in it is kept */
    if (s.size <= 0 || (layout->variables && s.size > FLOWPEER_SCRATCH)) return FLOWPEER_ARGUMENT;
    s.layout = layout;
    s.format = sets->format;
    s.sample = sets->layout < 0;
    s.limits = &rows->limits;
    s.n = s.part_count = 0;
    for (const flowpeer_set *set = sets; set < sets + count; set++) {
        span_t rest = span_of(rows->base[set->base] + set->at, set->size);
        for (int64_t done = 0; done < set->count;) {
            int64_t n = add_records(rows, &s, set, &rest, set->count - done);
            if (n < 0) return n;
            if (!n) flush(rows, &s, back);
            done += n;
        }
    }
    flush(rows, &s, back);
    return 0;
}

int64_t flowpeer_read(flowpeer_rows *rows, const flowpeer_set *sets, int64_t count) {
    flowpeer_layout sample;
    for (int64_t i = 0, n; i < count; i += n) {
        const flowpeer_set *set = &sets[i];
        if (rows->rows >= rows->enough) return i;
        if (!in_order(rows, set)) return FLOWPEER_ARGUMENT;
        const flowpeer_layout *layout = set->layout < 0 ? &sample : &rows->layouts[set->layout];
        uint32_t mask = set->mask;
        bool both = set->layout >= 0 && has_reverse(layout);
        int64_t total = set->count, room = (rows->room - rows->rows) / (both ? 2 : 1);
        if (total > room) return rows->rows ? i : FLOWPEER_NO_ROOM;
        for (n = 1; !both && i + n < count; n++) { /* reverse flows follow set by set */
            const flowpeer_set *other = &sets[i + n];
            if (other->layout != set->layout || other->format != set->format ||
                (set->layout < 0 && (other->mask ^ mask) & ~LOOSE) || !in_order(rows, other) ||
                rows->rows + total >= rows->enough || other->count > room - total)
                break;
            total += other->count;
            mask |= other->mask;
        }
        if (set->layout < 0) layout_of_sample(mask, &sample);
        for (int back = 0; back <= both; back++) {
            int64_t done = read_sets(rows, layout, set, n, back);
            if (done < 0) return done;
        }
    }
    return count;
}
