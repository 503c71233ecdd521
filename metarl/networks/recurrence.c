// Gated averages over time, h_t = h_{t-1} + z_t (c_t - h_{t-1}), and their gradients, each in one pass over memory.
//
// Arrays have time first: gate and candidate side by side in rows of 2 * units, everything else in rows of units.

#include <stdint.h>

#define EXPORT __attribute__((visibility("default")))

// Turns the candidate's sigmoid s(2 x), in place, into tanh x = 2 s(2 x) - 1, and sets all states.
#define FORWARD(NAME, REAL)                                                                             \
  EXPORT void NAME(REAL* both, const REAL* start, REAL* states, int64_t steps, int64_t batch,           \
                   int64_t units) {                                                                     \
    for (int64_t row = 0; row < steps * batch; row++) {                                                 \
      const REAL* before = row < batch ? start + row * units : states + (row - batch) * units;          \
      const REAL* restrict gate = both + 2 * row * units;                                               \
      REAL* restrict candidate = both + (2 * row + 1) * units;                                          \
      REAL* restrict after = states + row * units;                                                      \
      for (int64_t i = 0; i < units; i++) {                                                             \
        REAL c = 2 * candidate[i] - 1;                                                                  \
        candidate[i] = c;                                                                               \
        after[i] = before[i] + gate[i] * (c - before[i]);                                               \
      }                                                                                                 \
    }                                                                                                   \
  }

// Sets the gradients of what the sigmoid and the tanh were taken of, from those of the states. The adjoint
// a_t = g_t + (1 - z_{t+1}) a_{t+1} goes back in time; `carry` begins as zeros and ends as the start's gradient.
#define BACKWARD(NAME, REAL)                                                                            \
  EXPORT void NAME(const REAL* both, const REAL* start, const REAL* states, const REAL* gradients,      \
                   REAL* to_both, REAL* carry, int64_t steps, int64_t batch, int64_t units) {           \
    for (int64_t row = steps * batch - 1; row >= 0; row--) {                                            \
      const REAL* restrict before = row < batch ? start + row * units : states + (row - batch) * units; \
      const REAL* restrict gate = both + 2 * row * units;                                               \
      const REAL* restrict candidate = both + (2 * row + 1) * units;                                    \
      const REAL* restrict gradient = gradients + row * units;                                          \
      REAL* restrict to_gate = to_both + 2 * row * units;                                               \
      REAL* restrict to_candidate = to_both + (2 * row + 1) * units;                                    \
      REAL* restrict left = carry + row % batch * units;                                                \
      for (int64_t i = 0; i < units; i++) {                                                             \
        REAL z = gate[i], c = candidate[i], adjoint = gradient[i] + left[i], share = adjoint * z;       \
        to_gate[i] = share * (1 - z) * (c - before[i]);                                                 \
        to_candidate[i] = share * (1 - c * c);                                                          \
        left[i] = adjoint - share;                                                                      \
      }                                                                                                 \
    }                                                                                                   \
  }

FORWARD(metarl_average_float, float)
FORWARD(metarl_average_double, double)
BACKWARD(metarl_gradient_float, float)
BACKWARD(metarl_gradient_double, double)
