// Lock annotations, checked by clang's -Wthread-safety; g++ ignores them.
#pragma once

#if defined(__clang__)
#define UMK_ANNOTATE(x) __attribute__((x))
#else
#define UMK_ANNOTATE(x)
#endif

#define CAPABILITY(name) UMK_ANNOTATE(capability(name))
#define SCOPED_CAPABILITY UMK_ANNOTATE(scoped_lockable)
#define GUARDED_BY(lock) UMK_ANNOTATE(guarded_by(lock))
#define PT_GUARDED_BY(lock) UMK_ANNOTATE(pt_guarded_by(lock))
#define REQUIRES(...) UMK_ANNOTATE(requires_capability(__VA_ARGS__))
#define ACQUIRE(...) UMK_ANNOTATE(acquire_capability(__VA_ARGS__))
#define RELEASE(...) UMK_ANNOTATE(release_capability(__VA_ARGS__))
#define TRY_ACQUIRE(...) UMK_ANNOTATE(try_acquire_capability(__VA_ARGS__))
#define EXCLUDES(...) UMK_ANNOTATE(locks_excluded(__VA_ARGS__))
#define NO_THREAD_SAFETY_ANALYSIS UMK_ANNOTATE(no_thread_safety_analysis)
