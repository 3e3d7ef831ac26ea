// Threads: creation, joining, cancelling, exec and exit of a process with threads, signals to threads.
#include "check.h"

#include <asm/prctl.h>
#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/prctl.h>
#include <sys/resource.h>

namespace {

volatile int counter = 0;
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
thread_local int local = 5;

void* forever(void*) {
  for (;;) pause();
}
void* spin(void*) {
  for (;;) counter = counter + 1;
}

}  // namespace

CASE(create_and_join) {
  pthread_t threads[16];
  for (long i = 0; i < 16; i++) {
    pthread_create(
        &threads[i], nullptr,
        [](void* argument) -> void* {
          local += static_cast<int>(reinterpret_cast<long>(argument));
          for (int n = 0; n < 1000; n++) {
            pthread_mutex_lock(&mutex);
            counter = counter + 1;
            pthread_mutex_unlock(&mutex);
          }
          return reinterpret_cast<void*>(static_cast<long>(local));
        },
        reinterpret_cast<void*>(i));
  }
  long sum = 0;
  for (pthread_t thread : threads) {
    void* result = nullptr;
    pthread_join(thread, &result);
    sum += reinterpret_cast<long>(result);
  }
  say("sum %ld counter %d own %d", sum, counter, local);
  pthread_t one;
  pthread_create(&one, nullptr, [](void*) -> void* { pthread_exit(reinterpret_cast<void*>(9)); }, nullptr);
  void* result = nullptr;
  pthread_join(one, &result);
  shown("pthread_exit", reinterpret_cast<long>(result));
  shown_error("join oneself", pthread_join(pthread_self(), nullptr));
  int made = 0;
  for (int i = 0; i < 500; i++) {
    if (pthread_create(&one, nullptr, [](void*) -> void* { return nullptr; }, nullptr) == 0) made++;
    pthread_join(one, nullptr);
  }
  shown("one after the other", made);
}

/// What a thread did to itself is not found by those that begin after it has ended: they have what their creator has.
CASE(nothing_is_left_of_a_thread) {
  auto run = [](void* (*body)(void*)) {
    pthread_t thread;
    pthread_create(&thread, nullptr, body, nullptr);
    pthread_join(thread, nullptr);
  };
  auto show_own = [](void*) -> void* {
    unsigned long gs = 1;
    syscall(SYS_arch_prctl, ARCH_GET_GS, &gs);
    cpu_set_t processors;
    sched_getaffinity(0, sizeof processors, &processors);
    char name[16] = "";
    prctl(PR_GET_NAME, name);
    stack_t stack{};
    sigaltstack(nullptr, &stack);
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, nullptr, &mask);
    timespec used{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    say("rounding %d, GS %lx, all processors %d, nice %d, is renamed %d, stack flags %d, masks %d %d, local %d, has used much %d", fegetround() == FE_UPWARD, gs, CPU_COUNT(&processors) > 1,
        getpriority(PRIO_PROCESS, 0), strcmp(name, "changed") == 0, stack.ss_flags, sigismember(&mask, SIGUSR1), sigismember(&mask, SIGUSR2), local, used.tv_nsec > 40'000'000);
    return nullptr;
  };
  auto change_own = [](void*) -> void* {
    fesetround(FE_DOWNWARD);
    syscall(SYS_arch_prctl, ARCH_SET_GS, 0x12345000ul);
    cpu_set_t first;
    CPU_ZERO(&first);
    CPU_SET(0, &first);
    sched_setaffinity(0, sizeof first, &first);
    prctl(PR_SET_NAME, "changed");
    static char memory[65536];
    stack_t stack{memory, 0, sizeof memory};
    sigaltstack(&stack, nullptr);
    sigset_t mask;
    sigfillset(&mask);
    pthread_sigmask(SIG_BLOCK, &mask, nullptr);
    local = 77;
    timespec used{};
    do clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    while (used.tv_nsec < 60'000'000);
    return nullptr;
  };
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &mask, nullptr);
  fesetround(FE_UPWARD);
  run(show_own);
  run(change_own);
  run(show_own);
  for (int i = 0; i < 5; i++) run(change_own);
  run(show_own);
  // A nice value is not taken back by everybody, so this comes last.
  run([](void*) -> void* {
    setpriority(PRIO_PROCESS, 0, 5);
    return nullptr;
  });
  run(show_own);
  fesetround(FE_TONEAREST);
  pthread_sigmask(SIG_UNBLOCK, &mask, nullptr);
  const pid_t child = fork();
  if (child == 0) {
    run(show_own);
    _exit(6);
  }
  int status = 0;
  waitpid(child, &status, 0);
  shown("status of a child", WEXITSTATUS(status));
}

/// Threads that start and end threads, all at once.
CASE(threads_of_threads) {
  static volatile int sum = 0;
  pthread_t makers[4];
  for (pthread_t& maker : makers)
    pthread_create(
        &maker, nullptr,
        [](void*) -> void* {
          for (int i = 0; i < 300; i++) {
            pthread_t two[2];
            for (pthread_t& thread : two)
              pthread_create(
                  &thread, nullptr,
                  [](void*) -> void* {
                    __atomic_fetch_add(&sum, 1, __ATOMIC_SEQ_CST);
                    return nullptr;
                  },
                  nullptr);
            for (pthread_t thread : two) pthread_join(thread, nullptr);
          }
          return nullptr;
        },
        nullptr);
  for (pthread_t maker : makers) pthread_join(maker, nullptr);
  shown("ran", sum);
}

CASE(cancelling) {
  pthread_t thread;
  pthread_create(&thread, nullptr, forever, nullptr);
  sleep_ms(20);
  shown_error("cancel", pthread_cancel(thread));
  void* result = nullptr;
  pthread_join(thread, &result);
  shown("cancelled", result == PTHREAD_CANCELED);
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, nullptr);
        return spin(nullptr);
      },
      nullptr);
  sleep_ms(20);
  pthread_cancel(thread);
  pthread_join(thread, &result);
  shown("asynchronously", result == PTHREAD_CANCELED);
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        char c = 0;
        int p[2];
        pipe(p);
        pthread_cleanup_push([](void*) { say("cleanup"); }, nullptr);
        read(p[0], &c, 1);
        pthread_cleanup_pop(0);
        return nullptr;
      },
      nullptr);
  sleep_ms(20);
  pthread_cancel(thread);
  pthread_join(thread, &result);
  shown("in a read", result == PTHREAD_CANCELED);
}

CASE(conditions) {
  static int stage = 0;
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        for (int i = 0; i < 1000; i++) {
          pthread_mutex_lock(&mutex);
          while (stage % 2 == 0) pthread_cond_wait(&condition, &mutex);
          stage++;
          pthread_cond_broadcast(&condition);
          pthread_mutex_unlock(&mutex);
        }
        return nullptr;
      },
      nullptr);
  for (int i = 0; i < 1000; i++) {
    pthread_mutex_lock(&mutex);
    while (stage % 2 == 1) pthread_cond_wait(&condition, &mutex);
    stage++;
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
  }
  pthread_join(thread, nullptr);
  shown("turns", stage);
  timespec until{};
  clock_gettime(CLOCK_REALTIME, &until);
  pthread_mutex_lock(&mutex);
  shown_error("time limit", pthread_cond_timedwait(&condition, &mutex, &until));
  pthread_mutex_unlock(&mutex);
  static pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, 4);
  static volatile int serial = 0;
  pthread_t four[3];
  const auto meet = [](void*) -> void* {
    for (int i = 0; i < 100; i++) {
      if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) __atomic_fetch_add(&serial, 1, __ATOMIC_SEQ_CST);
    }
    return nullptr;
  };
  for (pthread_t& t : four) pthread_create(&t, nullptr, meet, nullptr);
  meet(nullptr);
  for (pthread_t t : four) pthread_join(t, nullptr);
  shown("barriers", serial);
}

CASE(signals_to_threads) {
  static volatile pid_t got = 0;
  struct sigaction action{};
  action.sa_handler = [](int) { got = gettid(); };
  sigaction(SIGUSR1, &action, nullptr);
  static volatile pid_t tid = 0;
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        tid = gettid();
        while (got == 0) sleep_ms(1);
        return nullptr;
      },
      nullptr);
  while (tid == 0) sleep_ms(1);
  shown_error("pthread_kill", pthread_kill(thread, SIGUSR1));
  pthread_join(thread, nullptr);
  shown("right thread", got == tid);
  got = 0;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        tid = gettid();
        while (got == 0) sleep_ms(1);
        return nullptr;
      },
      nullptr);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  kill(getpid(), SIGUSR1);
  pthread_join(thread, nullptr);
  shown("the thread that does not block it", got == tid);
  raise(SIGUSR1);
  sigset_t pending;
  sigpending(&pending);
  shown("pending on this thread", sigismember(&pending, SIGUSR1));
  in_child("a fault in a thread", [] {
    pthread_t t;
    pthread_create(&t, nullptr, [](void*) -> void* { *bad<volatile int>() = 1; return nullptr; }, nullptr);
    pthread_join(t, nullptr);
  });
}

CASE(end_of_the_process) {
  in_child("exit while a thread spins", [] {
    pthread_t t;
    pthread_create(&t, nullptr, spin, nullptr);
    sleep_ms(10);
    _exit(5);
  });
  in_child("exit from a thread", [] {
    pthread_t t;
    pthread_create(&t, nullptr, [](void*) -> void* { _exit(6); }, nullptr);
    forever(nullptr);
  });
  in_child("main thread leaves first", [] {
    pthread_t t;
    pthread_create(
        &t, nullptr,
        [](void*) -> void* {
          sleep_ms(50);
          say("thread still runs");
          _exit(8);
        },
        nullptr);
    syscall(SYS_exit, 7);
  });
  in_child("all threads leave", [] {
    pthread_t t;
    pthread_create(&t, nullptr, [](void*) -> void* { sleep_ms(30); syscall(SYS_exit, 3); return nullptr; }, nullptr);
    syscall(SYS_exit, 7);
  });
  in_child("killed", [] {
    pthread_t t;
    for (int i = 0; i < 4; i++) pthread_create(&t, nullptr, i % 2 ? spin : forever, nullptr);
    kill(getpid(), SIGKILL);
    forever(nullptr);
  });
  in_child("stopped and continued", [] {
    const pid_t me = fork();
    if (me == 0) {
      pthread_t t;
      pthread_create(&t, nullptr, spin, nullptr);
      sleep_ms(10);
      raise(SIGSTOP);
      _exit(2);
    }
    int status = 0;
    waitpid(me, &status, WUNTRACED);
    shown_status("group", status);
    kill(me, SIGCONT);
    waitpid(me, &status, 0);
    shown_status("group", status);
  });
}

CASE(exec_with_threads) {
  for (int from_thread = 0; from_thread < 2; from_thread++) {
    in_child(from_thread ? "from a thread" : "from the main thread", [=] {
      pthread_t t;
      for (int i = 0; i < 4; i++) pthread_create(&t, nullptr, i % 2 ? spin : forever, nullptr);
      const pid_t pid = getpid();
      static char text[64];
      snprintf(text, sizeof text, "test $$ = %d && echo same number; ls /proc/$$/task | wc -l", pid);
      if (from_thread) {
        pthread_create(&t, nullptr, [](void*) -> void* { execl("/bin/sh", "sh", "-c", text, nullptr); return nullptr; }, nullptr);
        forever(nullptr);
      }
      execl("/bin/sh", "sh", "-c", text, nullptr);
    });
  }
  in_child("a failing one changes nothing", [] {
    pthread_t t;
    pthread_create(&t, nullptr, spin, nullptr);
    execl("/nonexistent", "x", nullptr);
    const int before = counter;
    sleep_ms(30);
    shown("thread still runs", counter != before);
  });
}

CASE(fork_with_threads) {
  pthread_t t;
  pthread_create(&t, nullptr, spin, nullptr);
  int wrong = 0;
  for (int i = 0; i < 30; i++) {
    const pid_t pid = fork();
    if (pid == 0) _exit(11);
    int status = 0;
    waitpid(pid, &status, 0);
    wrong += WEXITSTATUS(status) != 11;
  }
  shown("wrong", wrong);
  static sem_t done;
  sem_init(&done, 0, 0);
  static volatile int failures = 0;
  for (int i = 0; i < 4; i++) {
    pthread_create(
        &t, nullptr,
        [](void*) -> void* {
          for (int n = 0; n < 10; n++) {
            const pid_t pid = fork();
            if (pid == 0) _exit(n);
            int status = 0;
            if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != n) __atomic_fetch_add(&failures, 1, __ATOMIC_SEQ_CST);
          }
          sem_post(&done);
          return nullptr;
        },
        nullptr);
  }
  for (int i = 0; i < 4; i++) sem_wait(&done);
  shown("failures", failures);
}

CASE(identity) {
  static volatile pid_t tid = 0;
  static volatile pid_t pid = 0;
  pthread_t t;
  pthread_create(
      &t, nullptr,
      [](void*) -> void* {
        pid = getpid();
        tid = gettid();
        prctl(PR_SET_NAME, "worker");
        return nullptr;
      },
      nullptr);
  pthread_join(t, nullptr);
  say("pid same %d tid other %d", pid == getpid(), tid != getpid());
  char name[16];
  prctl(PR_GET_NAME, name);
  say("own name %s", name);
  setuid(1000);
  pthread_create(&t, nullptr, [](void*) -> void* { say("uid in a thread %u", getuid()); return nullptr; }, nullptr);
  pthread_join(t, nullptr);
}
