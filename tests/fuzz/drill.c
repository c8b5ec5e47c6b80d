/* Anything as the input of the kernels of drills: they refuse it or stay inside their buffers. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "flowpeer.h"

static const uint8_t *from;
static size_t left;

static int64_t octet(void) {
    if (!left) return 0;
    left--;
    return *from++;
}

/* Mostly small, sometimes at a limit, sometimes anything. */
static int64_t number(void) {
    int64_t kind = octet(), value = octet();
    if (kind < 200) return value & 7;
    if (kind < 220) return value;
    if (kind < 235) return (INT64_C(1) << value % 62) - (kind & 1);
    if (kind < 245) return -value;
    for (int i = 0; i < 7; i++) value = (int64_t)((uint64_t)value << 8 | (uint64_t)octet());
    return value;
}

static void *room(int64_t count, size_t size) { return calloc((size_t)count + !count, size); }

static int64_t *longs(int64_t count) {
    int64_t *made = malloc((size_t)(count + !count) * sizeof *made);
    for (int64_t i = 0; i < count; i++) made[i] = number();
    return made;
}

static int32_t *ints(int64_t count) {
    int32_t *made = malloc((size_t)(count + !count) * sizeof *made);
    for (int64_t i = 0; i < count; i++) made[i] = (int32_t)number();
    return made;
}

static uint8_t *flags(int64_t count) {
    uint8_t *made = malloc((size_t)(count + !count));
    for (int64_t i = 0; i < count; i++) made[i] = octet() & 1;
    return made;
}

/* Places that rise by one or a little more, unless the input says otherwise. */
static int64_t *edges(int64_t count, int64_t least) {
    int64_t *made = longs(count + 1), wild = octet() > 240;
    if (wild) return made;
    made[0] = 0;
    for (int64_t i = 1; i <= count; i++) made[i] = made[i - 1] + least + (made[i] & 3);
    return made;
}

static void fall(void) {
    int64_t rows = octet() & 15, questions = octet() & 7, answers = octet() & 7;
    int64_t options = octet() & 31, groups = octet() & 7, holders = octet() & 31;
    int64_t targets = 1 + (octet() & 7), hours = 1 + (octet() & 7);
    flowpeer_fall_state s = {
        .hour = ints(rows), .question = ints(rows), .group = ints(rows), .bytes = longs(rows),
        .rows = rows, .answer = ints(questions), .questions = questions,
        .first = edges(answers, 1), .pool = ints(answers), .answers = answers,
        .place = ints(options), .link = ints(options), .weight = longs(options),
        .options = options, .edge = edges(groups, 0), .holder = ints(holders),
        .held = longs(holders), .groups = groups, .holders = holders, .targets = targets,
        .hours = hours, .table = room(targets * hours, 8), .asked = room(answers, 8),
        .pooled = room(answers, 8), .touched = room(answers, 4), .scratch = room(5 * options, 8)};
    flowpeer_fall(&s);
    const void *made[] = {s.hour, s.question, s.group, s.bytes, s.answer, s.first, s.pool, s.place,
                          s.link, s.weight, s.edge, s.holder, s.held, s.table, s.asked, s.pooled,
                          s.touched, s.scratch};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) free((void *)made[i]);
}

static void spread(void) {
    int64_t slots = octet() & 31, targets = octet() & 7, hours = octet() & 7, rows = octet() & 7;
    int64_t pairs = octet() & 3, alone = octet() & 1;
    flowpeer_spread_state s = {
        .load = longs(slots), .slots = slots, .into = number(), .per_hour = number(),
        .weights = longs(targets * hours), .may = alone ? longs(targets * hours) : NULL,
        .targets = targets, .hours = hours, .spare = number(), .row = longs(targets),
        .pair = longs(targets), .like = longs(targets), .real = flags(targets), .now = room(rows * slots, 8),
        .most = alone ? room(rows * slots, 8) : NULL, .rows = rows,
        .between = room(pairs * slots, 8), .pairs = pairs, .sums = room(targets, 8),
        .scratch = room(236 * targets, 8)};
    flowpeer_spread(&s);
    const void *made[] = {s.load, s.weights, s.may, s.row, s.pair, s.like, s.real, s.now, s.most,
                          s.between, s.sums, s.scratch};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) free((void *)made[i]);
}

static void figures(void) {
    int64_t rows = octet() & 7, width = octet() & 31, kinds = octet() & 3, levels = octet() & 7;
    flowpeer_figures_state s = {
        .values = longs(rows * width), .rows = rows, .width = width,
        .counts = flags(kinds * width), .kind = ints(rows), .kinds = kinds, .top = longs(rows),
        .guess = longs(rows), .borders = longs(rows * levels), .levels = levels,
        .largest = room(rows, 8), .ranked = room(rows, 8), .above = room(rows * levels, 8),
        .scratch = room(width, 8)};
    flowpeer_figures(&s);
    const void *made[] = {s.values, s.counts, s.kind, s.top, s.guess, s.borders, s.largest,
                          s.ranked, s.above, s.scratch};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) free((void *)made[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    from = data;
    left = size;
    switch (octet() % 3) {
    case 0: fall(); break;
    case 1: spread(); break;
    default: figures();
    }
    return 0;
}
