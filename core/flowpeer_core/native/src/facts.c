/* What is gathered of the records of a table: flowpeer_ingest/facts.py says what for, and its
 * `Plain` states the rules one record at a time. Tables of sums are the caller's, who empties them
 * where they are full and calls again. */
#include <stdbool.h>
#include <string.h>

#include "flowpeer.h"
#include "rollup.h"
#include "twice.h"

/* Rows of one call: as many octets of a record as may be still sum up within 63 bits. */
enum { MOST_ROWS = 1 << 20 };

static int64_t floored(int64_t value, int64_t by) {
    return value / by - (value % by < 0);
}

static bool reached(flowpeer_facts *f, int64_t first, int64_t last) {
    for (int64_t i = f->hour_count; i-- > 0;)
        if (f->hours[2 * i] == first && f->hours[2 * i + 1] == last) return true;
    if (f->hour_count >= FLOWPEER_FACTS_HOURS) return false;
    f->hours[2 * f->hour_count] = first;
    f->hours[2 * f->hour_count++ + 1] = last;
    return true;
}

static bool is_of(const flowpeer_fact *fact, int64_t interface, int32_t exporter, int32_t way) {
    return fact->interface == interface && fact->exporter == exporter && fact->way == way;
}

static flowpeer_fact *fact_of(flowpeer_facts *f, int64_t interface, int32_t exporter, int32_t way) {
    uint64_t place = ((uint64_t)interface ^ (uint64_t)(uint32_t)exporter << 32) << 3 | (uint64_t)way;
    place = place * 0x9E3779B97F4A7C15u >> 40;
    for (place &= FLOWPEER_FACTS * 2 - 1;; place = (place + 1) & (FLOWPEER_FACTS * 2 - 1)) {
        uint32_t found = f->places[place];
        if (!found) break;
        flowpeer_fact *fact = &f->facts[found - 1];
        if (is_of(fact, interface, exporter, way)) return fact;
    }
    if (f->fact_count >= FLOWPEER_FACTS) return NULL;
    flowpeer_fact *fact = &f->facts[f->fact_count++];
    *fact = (flowpeer_fact){.interface = interface, .exporter = exporter, .way = way};
    f->places[place] = (uint32_t)f->fact_count;
    return fact;
}

static flowpeer_span *span_of(flowpeer_facts *f, int32_t exporter, int64_t domain) {
    for (int64_t i = f->span_count; i-- > 0;)
        if (f->spans[i].domain == domain && f->spans[i].exporter == exporter) return &f->spans[i];
    if (f->span_count >= FLOWPEER_FACTS_SPANS) return NULL;
    flowpeer_span *span = &f->spans[f->span_count++];
    *span = (flowpeer_span){exporter, domain, INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN};
    return span;
}

/* Beyond 63 bits it is the end of them. */
static int64_t sum(int64_t a, int64_t b) {
    int64_t out;
    if (__builtin_add_overflow(a, b, &out)) return a < 0 ? INT64_MIN : INT64_MAX;
    return out;
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Values of a column in a block. Where all rows have the same, they are laid out once. */
typedef struct {
    const flowpeer_input *in;
    bool alike;
    int64_t room[BLOCK];
} values_t;

static void begin(values_t *values, const flowpeer_input *in) {
    values->in = in;
    values->alike = !in->width || (in->same && !in->valid);
    if (!values->alike) return;
    int64_t first = integers(in, 0, 1, values->room)[0];
    for (int i = 0; i < BLOCK; i++) values->room[i] = first;
}

static const int64_t *of_block(values_t *values, int64_t row, int n) {
    return values->alike ? values->room : integers(values->in, row, n, values->room);
}

/* The hours that were reached last begin at `first` and `last` (µs); within `span_us` behind those
 * there is nothing to do. 0: they begin before all times. */
typedef struct {
    int64_t first;
    int64_t last;
    uint64_t span_us;
} hours_t;

static inline int64_t last_us(int64_t start, int64_t end) {
    return most(start, end - (end != INT64_MIN));
}

static inline bool beyond(const hours_t *hours, int64_t start, int64_t last) {
    return ((uint64_t)start - (uint64_t)hours->first >= hours->span_us) |
           ((uint64_t)last - (uint64_t)hours->last >= hours->span_us);
}

ANY bool some_beyond_any(const hours_t *hours, const int64_t *start, const int64_t *end, int n) {
    int64_t some = 0;
    for (int i = 0; i < n; i++) some |= beyond(hours, start[i], last_us(start[i], end[i]));
    return some;
}
TWICE(bool, some_beyond, (const hours_t *hours, const int64_t *start, const int64_t *end, int n),
      (hours, start, end, n))

static void reach(flowpeer_facts *f, hours_t *hours, const int64_t *start, const int64_t *end,
                  int n) {
    bool some = some_beyond(hours, start, end, n);
    for (int i = 0; i < n && some; i++) {
        int64_t stop = last_us(start[i], end[i]);
        if (!beyond(hours, start[i], stop)) continue;
        int64_t first = floored(start[i], f->hour_us), last = floored(stop, f->hour_us);
        reached(f, first, last);
        hours->span_us = (uint64_t)f->hour_us;
        if (__builtin_mul_overflow(first, f->hour_us, &hours->first) ||
            __builtin_mul_overflow(last, f->hour_us, &hours->last))
            hours->span_us = 0;
    }
}

/* Sums of records that name the same two interfaces, on their way to the sums of each. */
typedef struct {
    int64_t face[2]; /* input, output */
    int64_t who;     /* exporter << 3 | way of the input */
    int64_t records;
    int64_t octets;
    int64_t exported;
} pair_t;

enum { PAIR_BITS = 8, PAIRS = 1 << PAIR_BITS };

static void pass_on(flowpeer_facts *f, pair_t *pair) {
    for (int side = 0; side < 2 && pair->records; side++) {
        int32_t way = (int32_t)(pair->who & 7) + 2 * side;
        flowpeer_fact *fact = fact_of(f, pair->face[side], (int32_t)(pair->who >> 3), way);
        fact->records += pair->records;
        fact->octets += pair->octets;
        fact->exported += pair->exported;
    }
}

static inline pair_t *pair_of(flowpeer_facts *f, pair_t *pairs, int64_t in, int64_t out,
                              int64_t who) {
    uint64_t hash = ((uint64_t)in * 31 + (uint64_t)out) * 8 + (uint64_t)who;
    pair_t *pair = &pairs[hash * 0x9E3779B97F4A7C15u >> (64 - PAIR_BITS)];
    if ((pair->face[0] ^ in) | (pair->face[1] ^ out) | (pair->who ^ who)) {
        pass_on(f, pair);
        *pair = (pair_t){.face = {in, out}, .who = who};
    }
    return pair;
}

/* Columns that sums and spans are made of, in the order of `flowpeer_facts`. */
enum { START, END, RECEIVED, SENT, EXPORTER, DOMAIN, SEQUENCE, SESSION, INPUT_IF, OUTPUT_IF,
       DIRECTION, BYTES, INTERVAL, COLUMNS_READ };

/* Octets of records, as they say and scaled. */
ANY void scale_any(const flowpeer_facts *f, const int64_t *bytes, const int64_t *interval, int n,
                   int64_t *octets, int64_t *scaled) {
    for (int i = 0; i < n; i++) {
        octets[i] = least(most(bytes[i], 0), f->most_octets);
        scaled[i] = least(octets[i] * least(most(interval[i], 1), f->most_rate), f->most_octets);
    }
}
TWICE(void, scale,
      (const flowpeer_facts *f, const int64_t *bytes, const int64_t *interval, int n,
       int64_t *octets, int64_t *scaled),
      (f, bytes, interval, n, octets, scaled))

static void add_records(flowpeer_facts *f, const int64_t *const *column, pair_t *pairs, int n) {
    const int64_t *in = column[INPUT_IF], *out = column[OUTPUT_IF], *exporter = column[EXPORTER];
    const int64_t *way = column[DIRECTION];
    const bool rated = f->interval.width && !f->interval.valid;
    const bool own = (f->numerator.width && !f->numerator.valid) || !f->session.width;
    int64_t octets[BLOCK], scaled[BLOCK];
    scale(f, column[BYTES], column[INTERVAL], n, octets, scaled);
    for (int i = 0; i < n; i++) {
        int64_t of = exporter[i], row = f->next + i;
        bool asking = false;
        if (!rated || !own) {
            bool with = rated || is_there(&f->interval, row);
            asking = !(with && (own || is_there(&f->numerator, row) ||
                                !is_there(&f->session, row)));
            f->unrated[of] += !with;
            f->asking[of] |= asking;
        }
        int64_t who = of << 3 | asking << 2 | (way[i] == 1);
        pair_t *pair = pair_of(f, pairs, in[i], out[i], who);
        pair->records++;
        pair->octets += asking ? octets[i] : scaled[i];
        pair->exported += octets[i];
    }
}

/* `span`: the one that was widened last, NULL at first. */
static flowpeer_span *widen(flowpeer_facts *f, const int64_t *const *column, flowpeer_span *span,
                            int n) {
    const int64_t *exporter = column[EXPORTER], *domain = column[DOMAIN];
    const int64_t *sequence = column[SEQUENCE], *sent = column[SENT], *received = column[RECEIVED];
    int64_t other[BLOCK];
    other[0] = 1;
    for (int i = 1; i < n; i++)
        other[i] = (sequence[i] ^ sequence[i - 1]) | (sent[i] ^ sent[i - 1]) |
                   (received[i] ^ received[i - 1]) | (domain[i] ^ domain[i - 1]) |
                   (exporter[i] ^ exporter[i - 1]);
    for (int i = 0; i < n; i++) {
        if (!other[i] || sequence[i] < 0) continue; /* of the same datagram, or of none */
        if (!span || span->exporter != exporter[i] || span->domain != domain[i])
            span = span_of(f, (int32_t)exporter[i], domain[i]);
        int64_t at = sent[i] < 0 ? received[i] : sent[i];
        int64_t apart = sent[i] < 0 ? f->apart_us : 0;
        span->first = least(span->first, sum(at, -apart));
        span->last = most(span->last, sum(at, apart));
        span->low = least(span->low, sequence[i]);
        span->high = most(span->high, sequence[i]);
    }
    return span;
}

/* Is there room for what n records may add to each table? */
static bool fits(const flowpeer_facts *f, int n) {
    return f->fact_count + 2 * (n + PAIRS) <= FLOWPEER_FACTS &&
           f->span_count + n <= FLOWPEER_FACTS_SPANS &&
           f->hour_count + n <= FLOWPEER_FACTS_HOURS;
}

int64_t flowpeer_gather(flowpeer_facts *f) {
    if (f->next < 0 || f->rows < f->next || f->hour_us <= 0 || f->most_octets < 0 ||
        f->most_octets > (int64_t)1 << 40 || f->most_rate < 1 || f->most_rate > 1 << 22 ||
        f->exporter.width != 4 || f->apart_us < 0)
        return FLOWPEER_ARGUMENT;
    int64_t first = f->next, stop = f->rows - first > MOST_ROWS ? first + MOST_ROWS : f->rows;
    values_t values[COLUMNS_READ];
    hours_t hours = {0, 0, 0};
    pair_t pairs[PAIRS] = {0};
    flowpeer_span *span = NULL;
    for (int i = 0; i < COLUMNS_READ && first < stop; i++) begin(&values[i], &f->start + i);
    while (f->next < stop) {
        int n = (int)least(stop - f->next, BLOCK);
        if (!fits(f, n)) break;
        const int64_t *column[COLUMNS_READ];
        for (int i = 0; i < COLUMNS_READ; i++) column[i] = of_block(&values[i], f->next, n);
        for (int i = 0; i < n; i++)
            if (column[EXPORTER][i] < 0 || column[EXPORTER][i] >= f->exporters)
                return FLOWPEER_ARGUMENT;
        reach(f, &hours, column[START], column[END], n);
        add_records(f, column, pairs, n);
        span = widen(f, column, span, n);
        f->next += n;
    }
    for (int i = 0; i < PAIRS; i++) pass_on(f, &pairs[i]);
    return f->next - first;
}
