/* The anchor for `probe --measure`: copy and triad over doubles as STREAM counts them, and a sum for reading.
 * Prints the best of N rounds in GB/s. Build: gcc -O3 -march=native -fopenmp -o stream stream.c -DN_MIB=256 */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>

#ifndef N_MIB
#define N_MIB 256
#endif
#define ROUNDS 12

static void keep(double *best, double rate) {
  if (rate > *best) *best = rate;
}

int main(void) {
  /* N_MIB over all three arrays, the size the probe uses for its triad. */
  size_t n = ((size_t)N_MIB << 20) / sizeof(double) / 3;
  double *a = aligned_alloc(64, n / 8 * 64 + 64), *b = aligned_alloc(64, n / 8 * 64 + 64),
         *c = aligned_alloc(64, n / 8 * 64 + 64);
  if (!a || !b || !c) return 1;
#pragma omp parallel for
  for (size_t i = 0; i < n; i++) a[i] = 1.0, b[i] = 2.0, c[i] = 0.5;
  double copy = 0, triad = 0, read = 0, sink = 0;
  for (int round = 0; round < ROUNDS; round++) {
    double t = omp_get_wtime();
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) c[i] = a[i];
    keep(&copy, 2.0 * n * sizeof(double) / (omp_get_wtime() - t) / 1e9);
    t = omp_get_wtime();
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) a[i] = b[i] + 3.0 * c[i];
    keep(&triad, 3.0 * n * sizeof(double) / (omp_get_wtime() - t) / 1e9);
    t = omp_get_wtime();
    double sum = 0;
#pragma omp parallel for simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += a[i];
    keep(&read, 1.0 * n * sizeof(double) / (omp_get_wtime() - t) / 1e9);
    sink += sum + c[n / 2];
  }
  printf("copy %.2f\ntriad %.2f\nread %.2f\n", copy, triad, read);
  return sink == 42.0;
}
