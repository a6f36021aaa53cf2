/* Multiply-adds of one core: accumulators that do not wait for each other, nothing read from memory.
   Three widths, because wide vectors may lower the clock. Returns the sum, so that no compiler can leave the loop out. */
#define LOOP(name, bytes) \
    float name(long rounds, float factor, float addend) { \
        typedef float vector __attribute__((vector_size(bytes))); \
        vector sums[12], by = {0}, plus = {0}; \
        by += factor, plus += addend; \
        for (int k = 0; k < 12; k++) sums[k] = by * (float)(k + 1); \
        for (long n = 0; n < rounds; n++) \
            for (int k = 0; k < 12; k++) sums[k] = sums[k] * by + plus; \
        float total = 0; \
        for (int k = 0; k < 12; k++) \
            for (unsigned i = 0; i < bytes / sizeof(float); i++) total += sums[k][i]; \
        return total; \
    }
LOOP(fma_16, 16)
LOOP(fma_32, 32)
LOOP(fma_64, 64)
