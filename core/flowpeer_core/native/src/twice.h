/* Loops that a compiler makes vectors of, compiled twice in one binary: eight numbers in a vector
 * where the machine has AVX2, as it says at run time, and for any machine. */
#ifndef FLOWPEER_TWICE_H
#define FLOWPEER_TWICE_H

#define ANY static inline __attribute__((always_inline))

/* `name` of the body `name`_any, which is ANY: static, of the same parameters. */
#if defined(__x86_64__)
#define TWICE(result, name, parameters, arguments)                            \
    __attribute__((target("avx2"))) static result name##_avx2 parameters {    \
        return name##_any arguments;                                          \
    }                                                                         \
    static result name parameters {                                           \
        return __builtin_cpu_supports("avx2") ? name##_avx2 arguments : name##_any arguments; \
    }
#else
#define TWICE(result, name, parameters, arguments)  \
    static result name parameters {                 \
        return name##_any arguments;                \
    }
#endif

#endif
