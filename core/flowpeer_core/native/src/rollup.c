/* Records of `flows` -> sums: METHODS M1 (by number of what decides it), M2, M3, M4 and M6.
 *
 * A block of records is worked on at once: which of them lie in the hour, their routes, then each
 * record's share of each slot, and at last the sums, whose places were fetched meanwhile. */
#include "sums.h"

enum { NO_ROUTE_4, NO_ROUTE_6, NO_ADDRESS, SPECIAL };

/* ---- distinct rows ---- */

#define MOST_COLUMNS 32

int64_t flowpeer_combine(const flowpeer_input *columns, int64_t count, int64_t rows, uint64_t seed,
                         uint32_t *places, int64_t mask, int32_t *numbers, int64_t *firsts,
                         int64_t *values) {
    if (count < 0 || rows < 0 || mask < 2 * rows - 1 || (mask & (mask + 1)) || rows > INT32_MAX)
        return FLOWPEER_ARGUMENT;
    memset(places, 0, 4 * ((size_t)mask + 1));
    const flowpeer_input *some[MOST_COLUMNS]; /* that are not alike in all rows */
    int64_t distinct = 0, used = 0;
    if (count > MOST_COLUMNS) return FLOWPEER_ARGUMENT;
    for (int64_t c = 0; c < count; c++)
        if (columns[c].width) some[used++] = &columns[c];
    for (int64_t row = 0; row < rows; row += BLOCK) {
        int n = rows - row < BLOCK ? (int)(rows - row) : BLOCK;
        uint64_t hash[BLOCK];
        int64_t room[BLOCK];
        for (int i = 0; i < n; i++) hash[i] = seed;
        for (int64_t c = 0; c < used; c++) {
            const int64_t *values = integers(some[c], row, n, room);
            for (int i = 0; i < n; i++) hash[i] = mixed(hash[i] ^ (uint64_t)values[i]);
        }
        for (int i = 0; i < n; i++) {
            int64_t at = (int64_t)(hash[i] & (uint64_t)mask);
            for (;; at = (at + 1) & mask) {
                uint32_t number = places[at];
                if (!number) {
                    firsts[distinct] = row + i;
                    places[at] = (uint32_t)++distinct;
                    numbers[row + i] = (int32_t)distinct - 1;
                    break;
                }
                bool same = true;
                for (int64_t c = 0; same && c < used; c++) {
                    int64_t a, b;
                    same = *integers(some[c], row + i, 1, &a) ==
                           *integers(some[c], firsts[number - 1], 1, &b);
                }
                if (same) {
                    numbers[row + i] = (int32_t)number - 1;
                    break;
                }
            }
        }
    }
    for (int64_t n = 0; n < distinct; n++)
        for (int64_t c = 0; c < count; c++) {
            int64_t room;
            values[n * count + c] = *integers(&columns[c], firsts[n], 1, &room);
        }
    return distinct;
}

/* ---- one record ---- */

/* A share of a record in one slot, and where it is counted: once or twice. */
typedef struct {
    flowpeer_entry sums;
    uint64_t route[2];
    int32_t slot;
    int32_t crossings;
} part_t;

/* A record after M2 and M6. */
typedef struct {
    int64_t start;
    int64_t end;
    int64_t bytes;
    int64_t packets;
    double low;
    double high;
    bool scaled;
} record_t;

/* x >= 0 rounded to an integer, half to even: what rint does, without a call. */
static inline double whole(double x) {
    const double ones = 4503599627370496.0; /* 2^52: from here on there are no fractions */
    return x < ones ? (x + ones) - ones : x;
}

static inline wide_t widened(double x) {
    return x < 9223372036854775808.0 ? (wide_t)(uint64_t)x : (wide_t)x;
}

/* counter x rate / divisor, half up; the caller knows that it fits. */
static inline int64_t times(int64_t counter, const flowpeer_kind *kind) {
    if (kind->divisor == 1) return counter * kind->rate;
    wide_t by = (wide_t)kind->divisor;
    return (int64_t)((2 * (wide_t)counter * (wide_t)kind->rate + by) / (2 * by));
}

/* Bounds of the sampling variance of the record's scaled bytes (M6), each an integer. */
static inline void variances(const flowpeer_sum_state *s, double b, double k, double n,
                             double largest, int64_t shortest, int64_t longest, double *low,
                             double *high) {
    if (k <= 0) { /* the fewest packets that can carry the octets: the wider bound */
        double fewest = b / largest;
        double down = fewest < 4503599627370496.0 ? (double)(int64_t)fewest : fewest;
        k = down < fewest ? down + 1 : down;
        if (k < 1) k = 1;
    }
    double mean = b / k;
    double least = shortest > 0 ? (double)shortest : s->smallest_packet;
    if (least > mean) least = mean;
    double most = (double)longest;
    if (most > s->longest_packet) most = s->longest_packet;
    if (longest <= 0) {
        most = b - (k - 1) * least; /* what is left when all others have the smallest size */
        if (most > largest) most = largest;
    }
    if (most < mean) most = mean;
    double squares = mean * b;
    double bound = (most + least) * b - k * least * most;
    if (bound < squares) bound = squares;
    double factor = n > 1 ? n * (n - 1) : 0;
    *low = whole(squares * factor);
    *high = whole(bound * factor);
    if (*low > s->most_variance) *low = s->most_variance;
    if (*high > s->most_variance) *high = s->most_variance;
}

static inline int64_t slot_of(const flowpeer_sum_state *s, int64_t us) {
    int64_t since = us - s->begin_us;
    return since >= 0 ? since / FLOWPEER_SLOT_US
                      : -((FLOWPEER_SLOT_US - 1 - since) / FLOWPEER_SLOT_US);
}

/* What a part has of `total`, and the remainder: total x overlap / duration, without leaving 63
 * bits, since the duration stays below 2^34 and a slot below 2^29. */
static inline int64_t share(int64_t total, int64_t overlap, int64_t duration, int64_t *rest) {
    int64_t product = total % duration * overlap;
    *rest = product % duration;
    return product / duration + total / duration * overlap;
}

/* Slots of the longest record. */
#define MOST_SLOTS 60

/* Gives slots their linear shares of `total` (M3), exactly: what is missing goes to the largest
 * remainders, of equal ones to the earlier slot. */
static void shares(int64_t total, const int64_t *overlap, int slots, int64_t duration,
                   int64_t *out) {
    int64_t rest[MOST_SLOTS], missing = total;
    for (int i = 0; i < slots; i++) {
        out[i] = share(total, overlap[i], duration, &rest[i]);
        missing -= out[i];
    }
    for (; missing > 0; missing--) {
        int best = 0;
        for (int i = 1; i < slots; i++)
            if (rest[i] > rest[best]) best = i;
        out[best]++;
        rest[best] = -1;
    }
}

/* The parts of a record in the hour, at most FLOWPEER_PARTS; only their sums and slots are set. */
static int spread(const flowpeer_sum_state *s, const record_t *r, part_t *parts) {
    int64_t first = slot_of(s, r->start);
    int64_t last = r->end > r->start ? slot_of(s, r->end - 1) : first;
    if (first == last) {
        if (first < 0 || first >= FLOWPEER_PARTS) return 0;
        parts->slot = (int32_t)first;
        parts->sums.bytes = r->bytes;
        parts->sums.packets = r->packets;
        parts->sums.records = 1;
        wide_t low = widened(r->low), high = widened(r->high);
        memcpy(parts->sums.low, &low, 16);
        memcpy(parts->sums.high, &high, 16);
        return 1;
    }
    int64_t overlap[MOST_SLOTS], bytes[MOST_SLOTS], packets[MOST_SLOTS];
    int64_t duration = r->end - r->start;
    int slots = (int)(last - first + 1), made = 0;
    for (int i = 0; i < slots; i++) {
        int64_t begin = s->begin_us + (first + i) * FLOWPEER_SLOT_US, end = begin + FLOWPEER_SLOT_US;
        overlap[i] = (end < r->end ? end : r->end) - (begin > r->start ? begin : r->start);
    }
    shares(r->bytes, overlap, slots, duration, bytes);
    shares(r->packets, overlap, slots, duration, packets);
    for (int i = 0; i < slots; i++) {
        int64_t slot = first + i;
        if (slot < 0 || slot >= FLOWPEER_PARTS) continue;
        double fraction = (double)overlap[i] / (double)duration;
        wide_t low = widened(whole(r->low * fraction)), high = widened(whole(r->high * fraction));
        flowpeer_entry sums = {0, bytes[i], packets[i], i == 0, {0, 0}, {0, 0}};
        memcpy(sums.low, &low, 16);
        memcpy(sums.high, &high, 16);
        parts[made].slot = (int32_t)slot;
        parts[made++].sums = sums;
    }
    return made;
}

/* ---- a block of records ---- */

/* What a block knows of each of its records that lie in the hour. */
typedef struct {
    int n;
    int64_t row[BLOCK];
    int64_t start[BLOCK];
    int64_t end[BLOCK];
    const flowpeer_kind *kind[BLOCK];
    uint64_t route[2][BLOCK];
} block_t;

static inline void total(flowpeer_sum_state *s, int which, int64_t more) {
    wide_add(&s->totals[2 * which], (wide_t)more);
}

static void count(flowpeer_sum_state *s, const flowpeer_kind *kind, bool scaled,
                  const flowpeer_entry *sums) {
    total(s, scaled ? TOTAL_FLOW : TOTAL_FLOW_UNSCALED, sums->bytes);
    total(s, TOTAL_RECORDS, sums->records);
    if (kind->side[1] >= 0)
        total(s, scaled ? TOTAL_THROUGH : TOTAL_THROUGH_UNSCALED, sums->bytes);
    if (kind->discarded && scaled) total(s, TOTAL_DISCARDED, sums->bytes);
    if (kind->rate > 0 && !scaled) total(s, TOTAL_IMPLAUSIBLE, sums->records);
}

/* Where it stands what an address is to a view, if it was asked for not long ago. */
static inline flowpeer_known *known_of(const flowpeer_sum_state *s, int64_t view, uint64_t hi,
                                       uint64_t lo) {
    return &s->known[mixed(hi ^ lo ^ (uint64_t)view << 32) & (FLOWPEER_KNOWN - 1)];
}

/* Keys of the records' first (0) or second (1) crossing. */
static int64_t find_keys(const flowpeer_sum_state *s, block_t *b, int k) {
    uint64_t hi[BLOCK], lo[BLOCK], near_hi[BLOCK], near_lo[BLOCK];
    int32_t found[BLOCK], local[BLOCK];
    uint8_t lane[BLOCK], near_lane[BLOCK];
    int64_t code[BLOCK];
    int near = 0;
    for (int i = 0; i < b->n; i++) {
        local[i] = -1;
        code[i] = NO_ADDRESS;
        if (b->kind[i]->side[k] < 0) continue;
        const flowpeer_input *in = b->kind[i]->source[k] ? &s->dst : &s->src;
        if (!address(in, b->row[i], &near_hi[near], &near_lo[near])) continue;
        near_lane[near++] = (uint8_t)i;
    }
    flowpeer_match_block(&s->own, near_hi, near_lo, near, found);
    for (int i = 0; i < near; i++) local[near_lane[i]] = found[i];
    flowpeer_known *known[BLOCK];
    bool todo[BLOCK];
    for (int i = 0; i < b->n; i++) todo[i] = b->kind[i]->side[k] >= 0;
    for (int from = 0; from < b->n; from++) { /* view after view; mostly there is one */
        if (!todo[from]) continue;
        int64_t number = b->kind[from]->view[k];
        if (number < 0 || number >= s->view_count) return FLOWPEER_ARGUMENT;
        const flowpeer_view *view = &s->views[number];
        int n = 0;
        near = 0;
        for (int i = from; i < b->n; i++) {
            if (!todo[i] || b->kind[i]->view[k] != number) continue;
            todo[i] = false;
            const flowpeer_input *in = b->kind[i]->source[k] ? &s->src : &s->dst;
            if (!address(in, b->row[i], &hi[n], &lo[n])) continue;
            known[n] = known_of(s, number, hi[n], lo[n]);
            __builtin_prefetch(known[n]);
            lane[n++] = (uint8_t)i;
        }
        int asked = n;
        n = 0;
        for (int j = 0; j < asked; j++) {
            if (known[j]->view == number + 1 && known[j]->hi == hi[j] && known[j]->lo == lo[j]) {
                code[lane[j]] = known[j]->code;
                continue;
            }
            hi[n] = hi[j], lo[n] = lo[j], known[n] = known[j], lane[n] = lane[j];
            n++;
        }
        flowpeer_match_block(&view->routes, hi, lo, n, found);
        for (int j = 0; j < n; j++)
            if (found[j] >= 0) __builtin_prefetch(&view->near[found[j]]);
        for (int j = 0; j < n; j++) {
            int i = lane[j];
            if (found[j] >= 0) {
                code[i] = view->offset + found[j];
                if (!view->near[found[j]]) continue;
            } else {
                code[i] = is_v4(hi[j], lo[j]) ? NO_ROUTE_4 : NO_ROUTE_6;
            }
            near_hi[near] = hi[j];
            near_lo[near] = lo[j];
            near_lane[near++] = (uint8_t)i;
        }
        flowpeer_match_block(&s->own, near_hi, near_lo, near, found);
        for (int j = 0; j < near; j++)
            if (found[j] >= 0) code[near_lane[j]] = SPECIAL + found[j];
        for (int j = 0; j < n; j++)
            *known[j] = (flowpeer_known){hi[j], lo[j], code[lane[j]], number + 1};
    }
    for (int i = 0; i < b->n; i++) {
        uint64_t side = (uint64_t)b->kind[i]->side[k];
        b->route[k][i] = (side << s->route_bits | (uint64_t)code[i]) << s->local_bits |
                         (uint64_t)(local[i] + 1);
        b->route[k][i] <<= 1;
    }
    return 0;
}

#define HELD 192 /* parts that wait for their places to be fetched */

static bool enter(flowpeer_sums *s, const part_t *parts, int count) {
    more_t all[2 * HELD];
    int n = 0;
    for (int i = 0; i < count; i++)
        for (int k = 0; k < parts[i].crossings; k++) {
            uint64_t key = parts[i].route[k] | (uint64_t)parts[i].slot << FLOWPEER_SLOT_BIT;
            all[n++] = (more_t){&parts[i].sums, key, mixed(key ^ s->seed)};
        }
    return add_all(s, all, n);
}

static int64_t work(flowpeer_sum_state *s, int64_t from, int n) {
    block_t b;
    int64_t room[6][BLOCK];
    const int64_t *start = integers(&s->start, from, n, room[0]);
    const int64_t *end = integers(&s->end, from, n, room[1]);
    b.n = 0;
    int64_t after = s->begin_us + (int64_t)FLOWPEER_PARTS * FLOWPEER_SLOT_US;
    bool twice = false;
    for (int i = 0; i < n; i++) {
        if (start[i] >= after || end[i] < s->begin_us) continue;
        int64_t lasted;
        if (__builtin_sub_overflow(end[i], start[i], &lasted) || lasted < 0 || lasted > s->most_us)
            return FLOWPEER_VALUE;
        int32_t number = s->numbers[from + i];
        if (number < 0 || number >= s->kind_count) return FLOWPEER_ARGUMENT;
        if (s->kinds[number].largest < 1) return FLOWPEER_ARGUMENT;
        b.row[b.n] = from + i;
        b.start[b.n] = start[i];
        b.end[b.n] = end[i];
        b.kind[b.n] = &s->kinds[number];
        twice |= b.kind[b.n]->side[1] >= 0;
        b.n++;
    }
    if (s->each) memset(&s->each[from], 0, sizeof(flowpeer_record) * (size_t)n);
    if (!b.n) return 0;
    const int64_t *bytes = integers(&s->bytes, from, n, room[2]);
    const int64_t *packets = integers(&s->packets, from, n, room[3]);
    const int64_t *shortest = integers(&s->shortest, from, n, room[4]);
    const int64_t *longest = integers(&s->longest, from, n, room[5]);
    for (int k = 0; k <= twice; k++) {
        int64_t done = find_keys(s, &b, k);
        if (done < 0) return done;
    }
    part_t parts[HELD];
    int held = 0;
    for (int i = 0; i < b.n; i++) {
        const flowpeer_kind *kind = b.kind[i];
        int64_t row = b.row[i] - from;
        double octets = (double)bytes[row], count_ = (double)packets[row];
        if (bytes[row] < 0 || packets[row] < 0) return FLOWPEER_VALUE;
        double rate = (double)kind->rate;
        if (kind->divisor != 1) rate /= (double)kind->divisor;
        record_t r = {b.start[i], b.end[i], bytes[row], packets[row], 0, 0, false};
        r.scaled = kind->rate > 0 && octets * rate < s->most_scaled && count_ * rate < s->most_scaled;
        if (r.scaled) {
            r.bytes = times(r.bytes, kind);
            r.packets = times(r.packets, kind);
            variances(s, octets, count_, rate, (double)kind->largest, shortest[row],
                      longest[row], &r.low, &r.high);
        }
        if (held + FLOWPEER_PARTS > HELD) {
            if (!enter(&s->sums, parts, held)) return FLOWPEER_OVERFLOW;
            held = 0;
        }
        int made = spread(s, &r, &parts[held]);
        for (int j = held; j < held + made; j++) {
            part_t *part = &parts[j];
            part->crossings = kind->side[1] >= 0 ? 2 : 1;
            part->route[1] = 0;
            for (int k = 0; k < part->crossings; k++)
                part->route[k] = b.route[k][i] | r.scaled;
            count(s, kind, r.scaled, &part->sums);
            if (!s->each) continue;
            flowpeer_record *record = &s->each[b.row[i]];
            record->bytes += part->sums.bytes;
            record->packets += part->sums.packets;
            record->records += part->sums.records;
            record->crossings = part->crossings;
            memcpy(record->route, part->route, sizeof record->route);
        }
        if (!s->each) held += made;
    }
    return enter(&s->sums, parts, held) ? 0 : FLOWPEER_OVERFLOW;
}

int64_t flowpeer_sum(flowpeer_sum_state *s) {
    if (s->next < 0 || !in_order(&s->sums) || !flowpeer_fits(&s->own) || s->most_us < 0 ||
        s->most_us / FLOWPEER_SLOT_US + 2 > MOST_SLOTS)
        return FLOWPEER_ARGUMENT;
    for (int64_t v = 0; v < s->view_count; v++)
        if (!flowpeer_fits(&s->views[v].routes)) return FLOWPEER_ARGUMENT;
    while (s->next < s->rows) {
        if (!s->each && !has_room(&s->sums)) return s->next;
        int64_t n = s->rows - s->next;
        int64_t done = work(s, s->next, n < BLOCK ? (int)n : BLOCK);
        if (done < 0) return done;
        s->next += n < BLOCK ? n : BLOCK;
    }
    s->sums.wants = FLOWPEER_WANTS_NOTHING;
    return s->next;
}
