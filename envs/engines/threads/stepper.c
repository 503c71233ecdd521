// Steps many MuJoCo worlds on a pool of threads; loaded by compiled.py through ctypes.
//
// A world is an mjData and a shallow copy of its mjModel, whose expanded fields point at rows of the world's own,
// so that worlds of one family share everything else. Worlds are dealt to the threads in equal ranges; a thread
// that is done takes worlds from the others' ranges. No world's numbers depend on the thread that steps it.

#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <mujoco/mujoco.h>
#include <mujoco/mjxmacro.h>

#define EXPORT __attribute__((visibility("default")))
#define CACHE_LINE 64
#define FLAG_FATAL (1 << 30)  // MuJoCo raised an error: the world cannot be stepped until it is reset
#define MAX_SETTINGS 8
#define DIVERGED (FLAG_FATAL | 1 << mjWARN_BADQPOS | 1 << mjWARN_BADQVEL | 1 << mjWARN_BADQACC | 1 << mjWARN_BADCTRL)
#define SPIN 2000  // looks at the flag, some 50 us in all, before the caller sleeps: the last worlds are about done

enum { FINISH_NOTHING = 0, FINISH_FORWARD = 1, FINISH_RNE = 2 };

typedef void (*Compute)(char* const* rows);

// Numbers that lie inside the model's structure, such as its gravity.
typedef struct {
  size_t offset;
  int count;
  const double* row;  // the world's own, copied into the structure before each step
} Setting;

typedef struct {
  mjModel model;
  mjData* data;
  Setting settings[MAX_SETTINGS];
  int num_settings;
  int finish, can_reuse;
  const int64_t* copies;   // [num_copies, 3]: address of the first number, column, how many
  int num_copies;
  const int64_t* touches;  // [num_touches, 4]: left pad's geom, right pad's, the target's, column
  int num_touches;
  double* row;            // the world's features
  Compute compute;        // runs after the step, on the world's rows of some arrays; NULL for none
  char* const* rows;
} World;

typedef struct {
  const uint8_t* mask;  // NULL for every world
  const double *ctrl, *mocap_pos, *mocap_quat;  // NULL leaves what is there
  int ctrl_stride, num_mocap, num_substeps;
} Job;

typedef struct {
  _Alignas(CACHE_LINE) atomic_int next;
  int end;
} Range;

typedef struct {
  World* worlds;
  uint8_t* forward_is_current;  // [num_worlds] the data's forward pass belongs to its current state
  int32_t* flags;  // [num_worlds] bit w is set by mjtWarning w
  int num_worlds, num_threads;
  Range* ranges;
  pthread_t* threads;
  Job job;
  pthread_mutex_t caller, lock;
  pthread_cond_t start, done;
  atomic_int active;    // threads at work, the caller aside; grows under the lock only
  int generation, stop;  // under the lock
} Pool;

typedef struct {
  Pool* pool;
  int index;
} Seat;

static _Thread_local jmp_buf recovery;

// MuJoCo's own thread-local hooks; without one, an error prints a prompt and waits for a key. Warnings are dropped:
// the flags carry them.
#if mjVERSION_HEADER < 3010000  // 3.9.x is 3009xxx, and 3.4.x is 34x
typedef void (*Hook)(const char*);
typedef struct {
  Hook error, warning;
} Hooks;
Hook _mjPRIVATE__get_tls_error_fn(void);
void _mjPRIVATE__set_tls_error_fn(Hook hook);
Hook _mjPRIVATE__get_tls_warning_fn(void);
void _mjPRIVATE__set_tls_warning_fn(Hook hook);

static void on_error(const char* message) {
  (void)message;
  longjmp(recovery, 1);
}

static void on_warning(const char* message) { (void)message; }

static const Hooks our_hooks = {on_error, on_warning};

static Hooks exchange_hooks(Hooks hooks) {
  Hooks before = {_mjPRIVATE__get_tls_error_fn(), _mjPRIVATE__get_tls_warning_fn()};
  _mjPRIVATE__set_tls_error_fn(hooks.error);
  _mjPRIVATE__set_tls_warning_fn(hooks.warning);
  return before;
}
#else
typedef mjfLogHandler Hooks;
mjfLogHandler _mjPRIVATE_setTlsLogHandler(mjfLogHandler handler);

static void our_hooks(const mjLogMessage* message) {
  if (message->level == mjLOG_ERROR) longjmp(recovery, 1);
}

static Hooks exchange_hooks(Hooks hooks) { return _mjPRIVATE_setTlsLogHandler(hooks); }
#endif

// ---------------------------------------------------------------------------------------- one world

static int any_bad(const mjtNum* values, int count) {
  for (int i = 0; i < count; i++) {
    if (mju_isBad(values[i])) return 1;
  }
  return 0;
}

// mj_kinematics, where nothing has moved but the mocap bodies. It normalizes twice, so this does.
static void move_mocap_bodies(const mjModel* m, mjData* d) {
  for (int i = 1; i < m->nbody; i++) {
    int mocap = m->body_mocapid[i];
    if (mocap < 0) continue;
    mju_copy3(d->xpos + 3 * i, d->mocap_pos + 3 * mocap);
    mju_copy4(d->xquat + 4 * i, d->mocap_quat + 4 * mocap);
    mju_normalize4(d->xquat + 4 * i);
    mju_normalize4(d->xquat + 4 * i);
    mju_quat2Mat(d->xmat + 9 * i, d->xquat + 4 * i);
  }
}

// mj_step, less what the forward pass after the last step has computed already. Moved since then are only the
// controls and the mocap bodies, which have no children, no colliding geoms, no degrees of freedom and no site
// that a constraint holds.
static void step_from_forward(const mjModel* m, mjData* d) {
  move_mocap_bodies(m, d);
  mj_makeConstraint(m, d);
  mj_projectConstraint(m, d);
  mj_referenceConstraint(m, d);
  mj_fwdActuation(m, d);
  mj_fwdAcceleration(m, d);
  mj_fwdConstraint(m, d);
  mj_checkAcc(m, d);
  mj_Euler(m, d);
}

// As Meta-World's touching_object does: an inactive contact has address -1, which there means the last row.
static double pressure(const mjData* d, int first, int second) {
  double total = 0;
  for (int i = 0; i < d->ncon && d->nefc > 0; i++) {
    const mjContact* contact = d->contact + i;
    int a = contact->geom1, b = contact->geom2;
    if ((a == first || b == first) && (a == second || b == second)) {
      int address = contact->efc_address;
      total += d->efc_force[address < 0 ? d->nefc + address : address];
    }
  }
  return total;
}

static void gather(const World* world) {
  for (int i = 0; i < world->num_copies; i++) {
    const int64_t* copy = world->copies + 3 * i;
    memcpy(world->row + copy[1], (const void*)(uintptr_t)copy[0], copy[2] * sizeof(double));
  }
  for (int i = 0; i < world->num_touches; i++) {
    const int64_t* touch = world->touches + 4 * i;
    int target = (int)touch[2];
    world->row[touch[3]] = pressure(world->data, (int)touch[0], target) > 0 &&
                           pressure(world->data, (int)touch[1], target) > 0;
  }
}

static void write_settings(World* world) {
  for (int i = 0; i < world->num_settings; i++) {
    const Setting* setting = world->settings + i;
    memcpy((char*)&world->model + setting->offset, setting->row, setting->count * sizeof(double));
  }
}

static void write_inputs(const World* world, const Job* job, int index) {
  const mjModel* m = &world->model;
  mjData* d = world->data;
  if (job->ctrl) memcpy(d->ctrl, job->ctrl + (size_t)index * job->ctrl_stride, m->nu * sizeof(double));
  if (job->mocap_pos)
    memcpy(d->mocap_pos, job->mocap_pos + (size_t)index * job->num_mocap * 3, m->nmocap * 3 * sizeof(double));
  if (job->mocap_quat)
    memcpy(d->mocap_quat, job->mocap_quat + (size_t)index * job->num_mocap * 4, m->nmocap * 4 * sizeof(double));
}

static int take_warnings(mjData* d) {
  int flags = 0;
  for (int w = 0; w < mjNWARNING; w++) {
    flags |= (d->warning[w].number > 0) << w;
    d->warning[w].number = 0;
  }
  return flags;
}

static void step_world(Pool* pool, int index) {
  World* world = pool->worlds + index;
  const Job* job = &pool->job;
  const mjModel* m = &world->model;
  mjData* d = world->data;
  int reuse = world->can_reuse && pool->forward_is_current[index] && job->num_substeps > 0;
  pool->forward_is_current[index] = 0;
  write_settings(world);
  write_inputs(world, job, index);
  if (reuse) step_from_forward(m, d);
  for (int i = reuse; i < job->num_substeps; i++) mj_step(m, d);
  if (world->finish == FINISH_FORWARD) mj_forward(m, d);
  if (world->finish == FINISH_RNE) mj_rnePostConstraint(m, d);
  gather(world);
  int flags = take_warnings(d);
  // the last substep's outcome is checked here, where MuJoCo would only at the next step
  flags |= any_bad(d->qpos, m->nq) << mjWARN_BADQPOS;
  flags |= any_bad(d->qvel, m->nv) << mjWARN_BADQVEL;
  flags |= any_bad(d->qacc, m->nv) << mjWARN_BADQACC;
  pool->flags[index] |= flags;
  int bad = flags & (1 << mjWARN_BADQPOS | 1 << mjWARN_BADQVEL | 1 << mjWARN_BADQACC);
  pool->forward_is_current[index] = world->finish == FINISH_FORWARD && !bad;
  if (world->compute && !(pool->flags[index] & DIVERGED)) world->compute(world->rows);
}

// ---------------------------------------------------------------------------------------- the threads

static void try_world(Pool* pool, int index) {
  if (pool->job.mask && !pool->job.mask[index]) return;
  if (!pool->worlds[index].data || pool->flags[index] & FLAG_FATAL) return;
  if (setjmp(recovery) == 0) {
    step_world(pool, index);
  } else {
    pool->forward_is_current[index] = 0;
    pool->flags[index] |= FLAG_FATAL;
  }
}

static void work(Pool* pool, int seat) {
  Hooks before = exchange_hooks(our_hooks);
  for (int i = 0; i < pool->num_threads; i++) {
    Range* range = pool->ranges + (seat + i) % pool->num_threads;
    int index;
    while ((index = atomic_fetch_add(&range->next, 1)) < range->end) try_world(pool, index);
  }
  exchange_hooks(before);
}

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

static void* thread_main(void* argument) {
  Seat seat = *(Seat*)argument;
  free(argument);
  Pool* pool = seat.pool;
  for (int seen = 0;;) {
    pthread_mutex_lock(&pool->lock);
    while (pool->generation == seen) pthread_cond_wait(&pool->start, &pool->lock);
    // a thread that wakes when all worlds are done, as on a busy machine, finds none, and nobody waited for it
    seen = pool->generation;
    int stop = pool->stop;
    atomic_fetch_add(&pool->active, 1);
    pthread_mutex_unlock(&pool->lock);
    if (stop) return NULL;
    work(pool, seat.index);
    if (atomic_fetch_sub(&pool->active, 1) == 1) {
      pthread_mutex_lock(&pool->lock);
      pthread_cond_signal(&pool->done);
      pthread_mutex_unlock(&pool->lock);
    }
  }
}

// Returns when no other thread is at work; to be called under the lock.
static void await_others(Pool* pool) {
  while (atomic_load(&pool->active) > 0) pthread_cond_wait(&pool->done, &pool->lock);
}

static void wake(Pool* pool) {
  pool->generation++;
  pthread_cond_broadcast(&pool->start);
}

// ---------------------------------------------------------------------------------------- the interface

EXPORT int metarl_mujoco_version(void) { return mjVERSION_HEADER; }

EXPORT void metarl_close(Pool* pool) {
  pthread_mutex_lock(&pool->lock);
  pool->stop = 1;
  wake(pool);
  pthread_mutex_unlock(&pool->lock);
  for (int i = 1; i < pool->num_threads; i++) pthread_join(pool->threads[i], NULL);
  free(pool->threads);
  free(pool->ranges);
  free(pool->worlds);
  free(pool);
}

// Returns NULL where memory or threads run out.
EXPORT Pool* metarl_open(int num_threads, int num_worlds, uint8_t* forward_is_current, int32_t* flags) {
  Pool* pool = calloc(1, sizeof(Pool));
  if (!pool) return NULL;
  pool->forward_is_current = forward_is_current;
  pool->flags = flags;
  pool->num_worlds = num_worlds;
  pool->worlds = calloc(num_worlds, sizeof(World));
  pool->ranges = aligned_alloc(CACHE_LINE, num_threads * sizeof(Range));
  pool->threads = calloc(num_threads, sizeof(pthread_t));
  pthread_mutex_init(&pool->caller, NULL);
  pthread_mutex_init(&pool->lock, NULL);
  pthread_cond_init(&pool->start, NULL);
  pthread_cond_init(&pool->done, NULL);
  pool->num_threads = 1;  // the caller is the first
  for (int i = 1; pool->worlds && pool->ranges && pool->threads && i < num_threads; i++) {
    Seat* seat = malloc(sizeof(Seat));
    if (!seat) break;
    *seat = (Seat){pool, i};
    if (pthread_create(pool->threads + i, NULL, thread_main, seat)) {
      free(seat);
      break;
    }
    pool->num_threads++;
  }
  if (pool->num_threads < num_threads) {
    metarl_close(pool);
    return NULL;
  }
  return pool;
}

EXPORT void metarl_world(Pool* pool, int index, const mjModel* model, mjData* data, int finish,
                         int can_reuse) {
  World* world = pool->worlds + index;
  memset(world, 0, sizeof(World));
  world->model = *model;
  world->data = data;
  world->finish = finish;
  world->can_reuse = can_reuse;
}

static int add_setting(World* world, size_t offset, int count, const double* row) {
  if (world->num_settings == MAX_SETTINGS) return 0;
  world->settings[world->num_settings++] = (Setting){offset, count, row};
  return 1;
}

// Lets the model field of one world be the given row; returns 0 where no field of numbers has that name, or
// too many are of those that are copied.
EXPORT int metarl_expand(Pool* pool, int index, const char* name, double* row) {
  mjModel* m = &pool->worlds[index].model;
#define X(type, field, rows, columns)                                  \
  if (!strcmp(#type, "mjtNum") && !strcmp(name, #field)) {             \
    memcpy((char*)m + offsetof(mjModel, field), &row, sizeof(double*)); \
    return 1;                                                          \
  }
  MJMODEL_POINTERS
#undef X
  World* world = pool->worlds + index;
#define XVEC(type, field, size)                                  \
  if (!strcmp(#type, "mjtNum") && !strcmp(name, "opt." #field)) \
    return add_setting(world, offsetof(mjModel, opt.field), size, row);
#ifdef MJOPTION_FIELDS  // later than MuJoCo 3.4
#define X XVEC
  MJOPTION_FIELDS
#undef X
#else
#define X(type, field) XVEC(type, field, 1)
  MJOPTION_FLOATS
#undef X
#define X(field, size) XVEC(mjtNum, field, size)
  MJOPTION_VECTORS
#undef X
#endif
#undef XVEC
  if (!strcmp(name, "stat.meaninertia"))
    return add_setting(world, offsetof(mjModel, stat.meaninertia), 1, row);
  return 0;
}

EXPORT void metarl_bind(Pool* pool, int index, const int64_t* copies, int num_copies, const int64_t* touches,
                        int num_touches, double* row) {
  World* world = pool->worlds + index;
  world->copies = copies;
  world->num_copies = num_copies;
  world->touches = touches;
  world->num_touches = num_touches;
  world->row = row;
}

EXPORT void metarl_compute(Pool* pool, int index, Compute compute, char* const* rows) {
  pool->worlds[index].compute = compute;
  pool->worlds[index].rows = rows;
}

EXPORT void metarl_step(Pool* pool, const uint8_t* mask, const double* ctrl, int ctrl_stride,
                        const double* mocap_pos, const double* mocap_quat, int num_mocap, int num_substeps) {
  pthread_mutex_lock(&pool->caller);
  pthread_mutex_lock(&pool->lock);
  await_others(pool);  // one that woke late, which is about to see that nothing is left
  pool->job = (Job){mask, ctrl, mocap_pos, mocap_quat, ctrl_stride, num_mocap, num_substeps};
  for (int i = 0; i < pool->num_threads; i++) {
    pool->ranges[i].end = (int)((int64_t)pool->num_worlds * (i + 1) / pool->num_threads);
    atomic_store(&pool->ranges[i].next, (int)((int64_t)pool->num_worlds * i / pool->num_threads));
  }
  wake(pool);
  pthread_mutex_unlock(&pool->lock);
  work(pool, 0);
  for (int i = 0; i < SPIN && atomic_load(&pool->active) > 0; i++) relax();
  pthread_mutex_lock(&pool->lock);
  await_others(pool);
  pthread_mutex_unlock(&pool->lock);
  pthread_mutex_unlock(&pool->caller);
}
