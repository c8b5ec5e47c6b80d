/* What is gathered of the records of a table: flowpeer_ingest/facts.py says what for, and its
 * `Plain` states the rules one record at a time. Tables of sums are the caller's, who empties them
 * where they are full and calls again. */
#include <stdbool.h>
#include <string.h>

#include "flowpeer.h"
#include "rollup.h"

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

static inline flowpeer_fact *fact_of(flowpeer_facts *f, int64_t interface, int32_t exporter, int32_t way) {
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

static bool full(flowpeer_facts *f) {
    return f->fact_count + 2 > FLOWPEER_FACTS || f->span_count + 1 > FLOWPEER_FACTS_SPANS ||
           f->hour_count + 1 > FLOWPEER_FACTS_HOURS;
}

int64_t flowpeer_gather(flowpeer_facts *f) {
    if (f->next < 0 || f->rows < f->next || f->hour_us <= 0 || f->most_octets < 0 ||
        f->most_octets > (int64_t)1 << 40 || f->most_rate < 1 || f->most_rate > 1 << 22 ||
        f->exporter.width != 4 || f->apart_us < 0)
        return FLOWPEER_ARGUMENT;
    int64_t begin = f->next, stop = f->rows - begin > MOST_ROWS ? begin + MOST_ROWS : f->rows;
    int64_t room_of[12][BLOCK];
    int64_t since[2] = {0, 0}; /* when the hours begin that were reached last */
    uint64_t span_us = 0;
    flowpeer_span *span = NULL;
    while (f->next < stop) {
        int n = (int)least(stop - f->next, BLOCK);
        const int64_t *start = integers(&f->start, f->next, n, room_of[0]);
        const int64_t *end = integers(&f->end, f->next, n, room_of[1]);
        const int64_t *exporter = integers(&f->exporter, f->next, n, room_of[2]);
        const int64_t *domain = integers(&f->domain, f->next, n, room_of[3]);
        const int64_t *sequence = integers(&f->sequence, f->next, n, room_of[4]);
        const int64_t *sent = integers(&f->sent, f->next, n, room_of[5]);
        const int64_t *received = integers(&f->received, f->next, n, room_of[6]);
        const int64_t *direction = integers(&f->direction, f->next, n, room_of[7]);
        const int64_t *bytes = integers(&f->bytes, f->next, n, room_of[8]);
        const int64_t *interval = integers(&f->interval, f->next, n, room_of[9]);
        const int64_t *face[2] = {integers(&f->input_if, f->next, n, room_of[10]),
                                  integers(&f->output_if, f->next, n, room_of[11])};
        bool room = f->fact_count + 2 * n <= FLOWPEER_FACTS &&
                    f->span_count + n <= FLOWPEER_FACTS_SPANS &&
                    f->hour_count + n <= FLOWPEER_FACTS_HOURS;
        bool rated = f->interval.width && !f->interval.valid;
        bool own = (f->numerator.width && !f->numerator.valid) || !f->session.width;
        for (int i = 0; i < n; i++) {
            if (!room && full(f)) {
                f->next += i;
                return f->next - begin;
            }
            int64_t row = f->next + i, of = exporter[i];
            if (of < 0 || of >= f->exporters) return FLOWPEER_ARGUMENT;
            int64_t stop_at = most(start[i], sum(end[i], -1));
            if ((uint64_t)start[i] - (uint64_t)since[0] >= span_us ||
                (uint64_t)stop_at - (uint64_t)since[1] >= span_us) {
                int64_t first = floored(start[i], f->hour_us), last = floored(stop_at, f->hour_us);
                reached(f, first, last);
                span_us = (uint64_t)f->hour_us; /* 0: it begins before all times, and is not kept */
                if (__builtin_mul_overflow(first, f->hour_us, &since[0]) ||
                    __builtin_mul_overflow(last, f->hour_us, &since[1]))
                    span_us = 0;
            }
            bool with = rated || is_there(&f->interval, row);
            int asking = !(with && (own || is_there(&f->numerator, row) ||
                                    !is_there(&f->session, row)));
            int64_t octets = least(most(bytes[i], 0), f->most_octets);
            int64_t rate = asking ? 1 : least(most(interval[i], 1), f->most_rate);
            int64_t scaled = least(octets * rate, f->most_octets);
            f->unrated[of] += !with;
            f->asking[of] |= (uint8_t)asking;
            for (int side = 0; side < 2; side++) {
                int32_t way = (direction[i] == 1) + 2 * side + 4 * asking;
                flowpeer_fact *fact = fact_of(f, face[side][i], (int32_t)of, way);
                fact->records++;
                fact->octets += scaled;
                fact->exported += octets;
            }
            bool again = i && sequence[i] == sequence[i - 1] && sent[i] == sent[i - 1] &&
                         received[i] == received[i - 1] && domain[i] == domain[i - 1] &&
                         of == exporter[i - 1]; /* of the same datagram */
            if (again || sequence[i] < 0) continue;
            if (!span || span->exporter != of || span->domain != domain[i])
                span = span_of(f, (int32_t)of, domain[i]);
            int64_t at = sent[i] < 0 ? received[i] : sent[i];
            int64_t apart = sent[i] < 0 ? f->apart_us : 0;
            span->first = least(span->first, sum(at, -apart));
            span->last = most(span->last, sum(at, apart));
            span->low = least(span->low, sequence[i]);
            span->high = most(span->high, sequence[i]);
        }
        f->next += n;
    }
    return f->next - begin;
}
