/* Any octets as the columns of a table: flowpeer_gather, called until all rows are gathered. */
#include <stdlib.h>
#include <string.h>

#include "flowpeer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { INPUTS = 14, EXPORTER = 4 };
    if (size < 4 + INPUTS) return 0;
    const uint8_t *kinds = data + 4;
    int64_t exporters = data[0] % 9, from = data[1] % 9, body = (int64_t)size - 4 - INPUTS;
    int64_t rows = body / 8 - from;
    if (rows <= 0) return 0;
    flowpeer_facts facts = {
        .rows = rows, .exporters = exporters, .hour_us = 3600000000, .apart_us = 30000000,
        .most_octets = (int64_t)1 << (data[2] % 42), .most_rate = 1 + data[3],
        .unrated = calloc((size_t)exporters + 1, 8), .asking = calloc((size_t)exporters + 1, 1),
        .places = malloc(2 * FLOWPEER_FACTS * 4),
        .facts = malloc(FLOWPEER_FACTS * sizeof(flowpeer_fact)),
        .spans = malloc(FLOWPEER_FACTS_SPANS * sizeof(flowpeer_span)),
        .hours = malloc(FLOWPEER_FACTS_HOURS * 16),
    };
    flowpeer_input *inputs = &facts.start;
    uint8_t *values[INPUTS], *valid[INPUTS];
    for (int i = 0; i < INPUTS; i++) {
        int64_t width = i == EXPORTER ? 4 : (int64_t[]){0, 4, 8, 8}[kinds[i] & 3];
        values[i] = malloc((size_t)((rows + from) * width) + 1);
        for (int64_t at = 0; at < (rows + from) * width; at++)
            values[i][at] = data[4 + INPUTS + (at + i * 8) % body];
        valid[i] = malloc((size_t)(rows + from + 7) / 8);
        for (int64_t at = 0; at < (rows + from + 7) / 8; at++)
            valid[i][at] = data[4 + INPUTS + (at + i) % body];
        inputs[i] = (flowpeer_input){values[i], kinds[i] & 4 && i != EXPORTER ? valid[i] : NULL,
                                     from, kinds[i] & 8 ? -1 : 0, width};
    }
    while (facts.next < rows) {
        memset(facts.places, 0, 2 * FLOWPEER_FACTS * 4);
        facts.fact_count = facts.span_count = facts.hour_count = 0;
        int64_t next = facts.next, done = flowpeer_gather(&facts);
        if (done < 0) break;
        if (done == 0 || facts.next != next + done) abort();
        int64_t records = 0;
        for (int64_t i = 0; i < facts.fact_count; i++) records += facts.facts[i].records;
        if (records != 2 * done) abort();
    }
    for (int i = 0; i < INPUTS; i++) free(values[i]), free(valid[i]);
    free(facts.unrated), free(facts.asking), free(facts.places), free(facts.facts);
    free(facts.spans), free(facts.hours);
    return 0;
}
