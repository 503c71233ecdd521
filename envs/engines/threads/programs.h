// Runs the programs of programs.py: arithmetic on one world's rows of some arrays.

#include <math.h>
#include <stdint.h>
#include <string.h>

#define MAX_TABLES 8
#define MAX_PAIRS 16
#define NUM_LOOPS 5

enum {
  CONSTANT, LOAD, LOAD_SINGLE, STORE, ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, ABSOLUTE, SQRT, MAXIMUM, MINIMUM,
  LESS, LESS_EQUAL, AND, OR, WHERE, SINGLE, PAIR, VECDOT, EXP, LOG, SIN, COS
};

// NumPy's inner loops: arguments, how many, their strides in bytes; a product has its inner ones behind these.
typedef struct {
  void (*function)(char** arguments, const intptr_t* counts, const intptr_t* strides, void* data);
  void* data;
} Loop;

typedef struct {
  const int32_t* code;  // [num_instructions, 5]: operation, register of the result, three operands
  const double* constants;
  int num_instructions, num_constants, num_registers;
} Program;

static void call_unary(const Loop* loop, double* argument, double* result) {
  const intptr_t counts[] = {1}, strides[] = {sizeof(double), sizeof(double)};
  loop->function((char*[]){(char*)argument, (char*)result}, counts, strides, loop->data);
}

static void call_vecdot(const Loop* loop, double* first, double* second, int pairs, double* result) {
  const intptr_t counts[] = {1, pairs}, strides[] = {0, 0, 0, sizeof(double), sizeof(double)};
  loop->function((char*[]){(char*)first, (char*)second, (char*)result}, counts, strides, loop->data);
}

// `rows` are the world's rows of the arrays. Truth is 1 or 0; single precision is rounded by SINGLE.
static void run_program(const Program* program, char* const* rows, const Loop* loops) {
  double r[program->num_registers + 1], pairs[2][MAX_PAIRS];
  if (program->num_constants) memcpy(r, program->constants, program->num_constants * sizeof(double));
  const int32_t* end = program->code + 5 * (size_t)program->num_instructions;
  for (const int32_t* i = program->code; i < end; i += 5) {
    double* out = r + i[1];
    int a = i[2], b = i[3], c = i[4];
    switch (i[0]) {
      case LOAD: *out = ((const double*)rows[a])[b]; break;
      case LOAD_SINGLE: *out = ((const float*)rows[a])[b]; break;
      case STORE: ((double*)rows[a])[b] = r[c]; break;
      case ADD: *out = r[a] + r[b]; break;
      case SUBTRACT: *out = r[a] - r[b]; break;
      case MULTIPLY: *out = r[a] * r[b]; break;
      case DIVIDE: *out = r[a] / r[b]; break;
      case NEGATE: *out = -r[a]; break;
      case ABSOLUTE: *out = fabs(r[a]); break;
      case SQRT: *out = sqrt(r[a]); break;
      case MAXIMUM: *out = r[a] >= r[b] || isnan(r[a]) ? r[a] : r[b]; break;
      case MINIMUM: *out = r[a] <= r[b] || isnan(r[a]) ? r[a] : r[b]; break;
      case LESS: *out = r[a] < r[b]; break;
      case LESS_EQUAL: *out = r[a] <= r[b]; break;
      case AND: *out = r[a] != 0 && r[b] != 0; break;
      case OR: *out = r[a] != 0 || r[b] != 0; break;
      case WHERE: *out = r[a] != 0 ? r[b] : r[c]; break;
      case SINGLE: *out = (float)r[a]; break;
      case PAIR: pairs[0][a] = r[b], pairs[1][a] = r[c]; break;
      case VECDOT: call_vecdot(loops, pairs[0], pairs[1], a, out); break;
      default: call_unary(loops + (i[0] - VECDOT), r + a, out);
    }
  }
}
