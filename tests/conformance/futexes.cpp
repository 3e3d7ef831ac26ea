// Futexes: private, shared, bitset, requeue, wake-op, priority inheritance, robust lists.
#include "check.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

namespace {

long futex(volatile uint32_t* word, int operation, uint32_t value, const void* time = nullptr, volatile uint32_t* other = nullptr, uint32_t third = 0) {
  return syscall(SYS_futex, word, operation, value, time, other, third);
}

volatile uint32_t* shared_words() {
  return static_cast<volatile uint32_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

struct Waiter {
  volatile uint32_t* word;
  int operation;
  uint32_t bits;
  long result;
  int error;
  volatile int started;
};

void* wait_thread(void* raw) {
  Waiter* w = static_cast<Waiter*>(raw);
  w->started = 1;
  w->result = futex(w->word, w->operation, 0, nullptr, nullptr, w->bits);
  w->error = errno;
  return nullptr;
}

}  // namespace

CASE(errors) {
  static volatile uint32_t word = 5;
  shown("other value", futex(&word, FUTEX_WAIT, 4));
  shown("other value, private", futex(&word, FUTEX_WAIT_PRIVATE, 4));
  shown("nobody waits", futex(&word, FUTEX_WAKE, 1));
  shown("not aligned", futex(reinterpret_cast<volatile uint32_t*>(reinterpret_cast<uintptr_t>(&word) + 1), FUTEX_WAIT, 5));
  shown("bad pointer", futex(bad<volatile uint32_t>(), FUTEX_WAIT, 5));
  shown("wake of a bad pointer", futex(bad<volatile uint32_t>(), FUTEX_WAKE_PRIVATE, 1));
  const timespec soon{0, 20000000};
  shown("time limit", futex(&word, FUTEX_WAIT_PRIVATE, 5, &soon));
  const timespec wrong{0, -1};
  shown("bad time", futex(&word, FUTEX_WAIT_PRIVATE, 5, &wrong));
  timespec until{};
  clock_gettime(CLOCK_MONOTONIC, &until);
  shown("absolute, past", futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 5, &until, nullptr, ~0U));
  clock_gettime(CLOCK_REALTIME, &until);
  shown("absolute, real time", futex(&word, FUTEX_WAIT_BITSET_PRIVATE | FUTEX_CLOCK_REALTIME, 5, &until, nullptr, ~0U));
  shown("no bits", futex(&word, FUTEX_WAIT_BITSET_PRIVATE, 5, nullptr, nullptr, 0));
  shown("wake no bits", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 1, nullptr, nullptr, 0));
  shown("unknown operation", futex(&word, 99, 5));
  struct sigaction action{};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
  itimerval timer{{0, 0}, {0, 30000}};
  setitimer(ITIMER_REAL, &timer, nullptr);
  shown("interrupted", futex(&word, FUTEX_WAIT_PRIVATE, 5));
}

CASE(between_processes) {
  volatile uint32_t* words = shared_words();
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 1000; i++) {
      while (__atomic_load_n(&words[0], __ATOMIC_SEQ_CST) == 0) futex(&words[0], FUTEX_WAIT, 0);
      __atomic_store_n(&words[0], 0, __ATOMIC_SEQ_CST);
      __atomic_store_n(&words[1], 1, __ATOMIC_SEQ_CST);
      futex(&words[1], FUTEX_WAKE, 1);
    }
    _exit(0);
  }
  for (int i = 0; i < 1000; i++) {
    __atomic_store_n(&words[0], 1, __ATOMIC_SEQ_CST);
    futex(&words[0], FUTEX_WAKE, 1);
    while (__atomic_load_n(&words[1], __ATOMIC_SEQ_CST) == 0) futex(&words[1], FUTEX_WAIT, 0);
    __atomic_store_n(&words[1], 0, __ATOMIC_SEQ_CST);
  }
  int status = 0;
  waitpid(child, &status, 0);
  shown_status("thousand turns", status);
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  ftruncate(fd, 4096);
  volatile uint32_t* a = static_cast<volatile uint32_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  volatile uint32_t* b = static_cast<volatile uint32_t*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  const pid_t waiter = fork();
  if (waiter == 0) _exit(futex(a, FUTEX_WAIT, 0) == 0 ? 0 : 1);
  long woken = 0;
  for (int i = 0; i < 100 && woken == 0; i++) {
    sleep_ms(10);
    woken = futex(b, FUTEX_WAKE, 1);
  }
  shown("one file, two mappings", woken);
  waitpid(waiter, &status, 0);
  shown_status("waiter", status);
}

CASE(wake_and_requeue) {
  static volatile uint32_t word = 0;
  static volatile uint32_t second = 0;
  Waiter waiters[4] = {};
  pthread_t threads[4];
  const auto start = [&](int operation, std::initializer_list<uint32_t> bits) {
    int i = 0;
    for (const uint32_t b : bits) {
      waiters[i] = {&word, operation, b, -9, 0, 0};
      pthread_create(&threads[i], nullptr, wait_thread, &waiters[i]);
      while (!waiters[i].started) sleep_ms(1);
      sleep_ms(20);
      i++;
    }
  };
  const auto finish = [&] {
    for (int i = 0; i < 4; i++) {
      pthread_join(threads[i], nullptr);
      if (waiters[i].result != 0) shown("waiter", (errno = waiters[i].error, waiters[i].result));
    }
  };
  start(FUTEX_WAIT_PRIVATE, {0, 0, 0, 0});
  shown("wake one", futex(&word, FUTEX_WAKE_PRIVATE, 1));
  shown("the others", futex(&word, FUTEX_WAKE_PRIVATE, 100));
  finish();
  start(FUTEX_WAIT_BITSET_PRIVATE, {1, 2, 4, 2});
  shown("bits 2", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 100, nullptr, nullptr, 2));
  shown("bits 8", futex(&word, FUTEX_WAKE_BITSET_PRIVATE, 100, nullptr, nullptr, 8));
  shown("plain wake takes all", futex(&word, FUTEX_WAKE_PRIVATE, 100));
  finish();
  start(FUTEX_WAIT_PRIVATE, {0, 0, 0, 0});
  shown("compare fails", futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, reinterpret_cast<void*>(10), &second, 7));
  shown("wake one, move two", futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, reinterpret_cast<void*>(2), &second, 0));
  shown("at the second", futex(&second, FUTEX_WAKE_PRIVATE, 100));
  shown("at the first", futex(&word, FUTEX_WAKE_PRIVATE, 100));
  finish();
  start(FUTEX_WAIT_PRIVATE, {0, 0, 0, 0});
  second = 3;
  // second = second + 4, and wake at it if it was larger than 2.
  shown("wake op", futex(&word, FUTEX_WAKE_OP_PRIVATE, 2, reinterpret_cast<void*>(10), &second, FUTEX_OP(FUTEX_OP_ADD, 4, FUTEX_OP_CMP_GT, 2)));
  shown("second is", second);
  shown("rest", futex(&word, FUTEX_WAKE_PRIVATE, 100));
  finish();
  second = 0;
}

CASE(priority_inheritance) {
  static volatile uint32_t word = 0;
  shown("lock", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0));
  shown("owner", (word & FUTEX_TID_MASK) == static_cast<uint32_t>(gettid()));
  shown("again", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0));
  shown("try", futex(&word, FUTEX_TRYLOCK_PI_PRIVATE, 0));
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        shown("thread tries", futex(&word, FUTEX_TRYLOCK_PI_PRIVATE, 0));
        shown("thread unlocks", futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0));
        timespec until{};
        clock_gettime(CLOCK_REALTIME, &until);
        shown("thread with a time limit", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0, &until));
        say("thread waits");
        const long result = futex(&word, FUTEX_LOCK_PI_PRIVATE, 0);
        shown("thread has it", result);
        shown("thread unlocks", futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0));
        return nullptr;
      },
      nullptr);
  for (int i = 0; i < 200 && (word & FUTEX_WAITERS) == 0; i++) sleep_ms(5);
  sleep_ms(50);
  say("main unlocks, waiters %d", (word & FUTEX_WAITERS) != 0);
  futex(&word, FUTEX_UNLOCK_PI_PRIVATE, 0);
  pthread_join(thread, nullptr);
  shown("free", word);
  word = 999999;
  shown("owner does not exist", futex(&word, FUTEX_LOCK_PI_PRIVATE, 0));
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  shown_error("protocol", pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT));
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  static pthread_mutex_t mutex;
  pthread_mutex_init(&mutex, &attributes);
  shown_error("lock", pthread_mutex_lock(&mutex));
  shown_error("lock again", pthread_mutex_lock(&mutex));
  shown_error("unlock", pthread_mutex_unlock(&mutex));
}

CASE(robust) {
  robust_list_head* head = nullptr;
  size_t size = 0;
  shown("get", syscall(SYS_get_robust_list, 0, &head, &size));
  say("size %zu set %d", size, head != nullptr);
  shown("bad size", syscall(SYS_set_robust_list, head, 5));
  shown("missing", syscall(SYS_get_robust_list, 999999, &head, &size));
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  auto* mutex = reinterpret_cast<pthread_mutex_t*>(const_cast<uint32_t*>(shared_words()));
  pthread_mutex_init(mutex, &attributes);
  in_child("dies with it", [=] { shown_error("lock", pthread_mutex_lock(mutex)); });
  shown_error("lock", pthread_mutex_lock(mutex));
  shown_error("consistent", pthread_mutex_consistent(mutex));
  shown_error("unlock", pthread_mutex_unlock(mutex));
  in_child("killed with it", [=] {
    pthread_mutex_lock(mutex);
    raise(SIGKILL);
  });
  shown_error("lock", pthread_mutex_lock(mutex));
  shown_error("unlock without making it consistent", pthread_mutex_unlock(mutex));
  shown_error("not recoverable", pthread_mutex_lock(mutex));
  pthread_mutex_init(mutex, &attributes);
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void* m) -> void* {
        pthread_mutex_lock(static_cast<pthread_mutex_t*>(m));
        return nullptr;
      },
      mutex);
  pthread_join(thread, nullptr);
  shown_error("after a thread", pthread_mutex_lock(mutex));
  pthread_mutex_consistent(mutex);
  pthread_mutex_unlock(mutex);
  in_child("exec with it", [=] {
    pthread_mutex_lock(mutex);
    execl("/bin/true", "true", nullptr);
  });
  shown_error("after an exec", pthread_mutex_lock(mutex));
  const pid_t waiter = fork();
  pthread_mutex_consistent(mutex);
  if (waiter == 0) {
    shown_error("waiter", pthread_mutex_lock(mutex));
    _exit(0);
  }
  sleep_ms(50);
  pthread_mutex_unlock(mutex);
  waitpid(waiter, nullptr, 0);
}

CASE(thread_id_word) {
  static volatile int done = 0;
  static volatile uint32_t cleared = 1;
  shown("set_tid_address", syscall(SYS_set_tid_address, &cleared) == gettid());
  volatile uint32_t* words = shared_words();
  words[0] = 1;
  if (fork() == 0) {
    syscall(SYS_set_tid_address, words);
    _exit(0);
  }
  wait(nullptr);
  shown("not cleared when nobody shares the memory", words[0]);
  (void)done;
}

namespace {

struct PiWaiter {
  volatile uint32_t* word;
  volatile uint32_t* lock;
  const timespec* until;
  volatile int started;
  long result;
  int error;
  bool owns;
};

void* wait_for_requeue(void* raw) {
  auto* w = static_cast<PiWaiter*>(raw);
  w->started = 1;
  w->result = futex(w->word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, w->until, w->lock);
  w->error = errno;
  w->owns = (*w->lock & FUTEX_TID_MASK) == static_cast<uint32_t>(gettid());
  if (w->owns) futex(w->lock, FUTEX_UNLOCK_PI_PRIVATE, 0);
  return nullptr;
}

pthread_t start_waiter(PiWaiter& waiter) {
  pthread_t thread{};
  pthread_create(&thread, nullptr, wait_for_requeue, &waiter);
  while (!waiter.started) sched_yield();
  sleep_ms(30);
  return thread;
}

void show_waiter(const char* what, pthread_t thread, const PiWaiter& waiter) {
  pthread_join(thread, nullptr);
  say("%s: %ld %s, owner %d", what, waiter.result, waiter.result < 0 ? check::error_name(waiter.error) : "", waiter.owns);
}

// The number of sleepers travels where other operations have their time.
long requeue_pi(volatile uint32_t* word, uint32_t wake, uintptr_t more, volatile uint32_t* lock, uint32_t expected) {
  return futex(word, FUTEX_CMP_REQUEUE_PI_PRIVATE, wake, reinterpret_cast<const void*>(more), lock, expected);
}

}  // namespace

CASE(requeue_to_pi) {
  static volatile uint32_t word = 0, lock = 0, other = 0;
  PiWaiter first{&word, &lock, nullptr, 0, 0, 0, false}, second = first;

  // The lock is free: who is woken has it.
  pthread_t one = start_waiter(first);
  shown("to a free lock", requeue_pi(&word, 1, 0, &lock, 0));
  show_waiter("waiter", one, first);
  shown("free again", lock);

  // The lock is held: they queue up for it.
  shown("lock", futex(&lock, FUTEX_LOCK_PI_PRIVATE, 0));
  first.started = 0;
  one = start_waiter(first);
  const pthread_t two = start_waiter(second);
  shown("nobody's value", requeue_pi(&word, 1, 10, &lock, 7));
  shown("two to wake", requeue_pi(&word, 2, 10, &lock, 0));
  shown("to itself", requeue_pi(&word, 1, 10, &word, 0));
  shown("to another lock", requeue_pi(&word, 1, 10, &other, 0));
  shown("plain wake", futex(&word, FUTEX_WAKE_PRIVATE, 1));
  shown("plain requeue", futex(&word, FUTEX_CMP_REQUEUE_PRIVATE, 1, reinterpret_cast<const void*>(10), &other, 0));
  shown("both", requeue_pi(&word, 1, 10, &lock, 0));
  shown("waited for", (lock & FUTEX_WAITERS) != 0);
  shown("unlock", futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0));
  show_waiter("first", one, first);
  show_waiter("second", two, second);
  shown("free again", lock & FUTEX_TID_MASK);

  // Time limits, before and after the move.
  lock = 0;
  timespec until{};
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_nsec += 60000000;
  if (until.tv_nsec >= 1000000000) until = {until.tv_sec + 1, until.tv_nsec - 1000000000};
  PiWaiter third{&word, &lock, &until, 0, 0, 0, false};
  one = start_waiter(third);
  show_waiter("nobody came", one, third);
  shown("lock", futex(&lock, FUTEX_LOCK_PI_PRIVATE, 0));
  clock_gettime(CLOCK_MONOTONIC, &until);
  until.tv_sec += 1;
  third.started = 0;
  one = start_waiter(third);
  shown("move", requeue_pi(&word, 1, 10, &lock, 0));
  show_waiter("lock was not given up", one, third);
  shown("unlock", futex(&lock, FUTEX_UNLOCK_PI_PRIVATE, 0));
  shown("to itself", futex(&word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 0, nullptr, &word));
  shown("other value", futex(&word, FUTEX_WAIT_REQUEUE_PI_PRIVATE, 5, nullptr, &lock));
  const timespec soon{0, 1};
  shown("absolute, of the monotonic clock", futex(&lock, FUTEX_LOCK_PI2_PRIVATE, 0, &soon));
  in_child("held by another", [&] { shown("lock", futex(&lock, FUTEX_LOCK_PI, 0, &soon)); });
}
