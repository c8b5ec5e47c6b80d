/* What this library was built from; the build hook gives the number. */
#include "flowpeer.h"

#ifndef FLOWPEER_SOURCES
#error "FLOWPEER_SOURCES is missing: build with hatch_build.py"
#endif

uint32_t flowpeer_abi(void) {
    return FLOWPEER_SOURCES;
}
