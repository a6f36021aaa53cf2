/* Multiply-adds of 8-bit integers of one core, summed in 32 bits, as the instructions for neural networks do four or
   sixteen at a time: accumulators that do not wait for each other, nothing read from memory. 0 where there are none. */
#include <string.h>
#if defined(__AVX512VNNI__) || defined(__AVXVNNI__)
#include <immintrin.h>
#if defined(__AVX512VNNI__)
#define BYTES 64
typedef __m512i vector;
#define FILL(x) _mm512_set1_epi8(x)
#define DOT(sum, a, b) _mm512_dpbusd_epi32(sum, a, b)
#else
#define BYTES 32
typedef __m256i vector;
#define FILL(x) _mm256_set1_epi8(x)
#define DOT(sum, a, b) _mm256_dpbusd_avx_epi32(sum, a, b)
#endif
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#define BYTES 16
typedef int32x4_t vector;
#define FILL(x) vreinterpretq_s32_s8(vdupq_n_s8(x))
#define DOT(sum, a, b) vdotq_s32(sum, vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b))
#else
#define BYTES 0
#endif
int dot_bytes(void) { return BYTES; }
int dot(long rounds, int a, int b) {
#if BYTES
    vector sums[12], by = FILL((char)a), with = FILL((char)b);
    for (int k = 0; k < 12; k++) sums[k] = FILL((char)k);
    for (long n = 0; n < rounds; n++)
        for (int k = 0; k < 12; k++) sums[k] = DOT(sums[k], by, with);
    int lanes[12 * BYTES / 4], total = 0;
    memcpy(lanes, sums, sizeof lanes);
    for (unsigned i = 0; i < 12 * BYTES / 4; i++) total += lanes[i];
    return total;
#else
    return 0;
#endif
}
