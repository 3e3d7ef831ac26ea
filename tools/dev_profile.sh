# `./dev coverage` and `./dev profile`. Sourced by ./dev.

# measure_coverage [TEST...]: builds the unit tests with gcov, runs them, and leaves a report.
measure_coverage() {
  local targets=() pattern=() name only=()
  for name in "$@"; do targets+=("${name}_test") pattern+=("$name"); done
  say "building with gcov"
  compile gcov "${targets[@]}"
  # Counts add up over runs.
  find "$BUILD/gcov" -name '*.gcda' -delete
  if ((${#pattern[@]})); then only=(-R "^($(IFS='|' && echo "${pattern[*]}"))\\."); fi
  say "running the unit tests"
  ctest --test-dir "$BUILD/gcov" -j "$JOBS" --timeout 300 --output-on-failure --no-tests=error "${only[@]}" >"$BUILD/ctest-gcov.log" 2>&1 || {
    tail -n 30 "$BUILD/ctest-gcov.log" >&2
    die "tests failed (build/ctest-gcov.log): the report would not be of what the tests promise"
  }
  say "counting"
  local report=$BUILD/gcov/report
  mkdir -p "$report"
  # Tests and what stands in for the host in them are not what is measured.
  gcovr --root "$SOURCE" --object-directory "$BUILD/gcov" "$BUILD/gcov" -j "$JOBS" --gcov-ignore-parse-errors --exclude-unreachable-branches --exclude-throw-branches \
    --filter "$SOURCE/src/" --exclude '.*_test\.cpp' --exclude '.*/fake[_/].*' \
    --html-details "$report/index.html" --json-summary "$report/summary.json" --txt "$report/summary.txt" --print-summary
  python3 - "$report/summary.json" <<'PYTHON'
import collections, json, os, sys
folders = collections.defaultdict(lambda: [0, 0])
for file in json.load(open(sys.argv[1]))["files"]:
    folder = folders[os.path.dirname(file["filename"])]
    folder[0] += file["line_covered"]
    folder[1] += file["line_total"]
for name, (covered, total) in sorted(folders.items()):
    if covered:
        print(f"{100 * covered / total:5.1f} % of {total:6} lines  {name}")
PYTHON
  say "report: $report/index.html"
}

# profile_test TEST [ARG...]: builds one unit test with gprof, runs it, and prints where its time went.
profile_test() {
  (($#)) || die "profile: name a folder's unit tests: vfs, ext4, tcp ..."
  local name=$1 program work
  shift
  say "building with gprof"
  compile gprof "${name}_test"
  program=$(find "$BUILD/gprof/src" -name "${name}_test" -type f -perm -u+x)
  [[ -n $program ]] || die "profile: the build left no ${name}_test"
  work=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$work'" EXIT
  say "running ${program#"$BUILD/"}"
  (cd "$work" && "$program" --gtest_brief=1 "$@") || die "profile: ${name}_test failed"
  [[ -f $work/gmon.out ]] || die "profile: the run left no gmon.out"
  cp "$work/gmon.out" "$BUILD/gprof/$name.gmon"
  # Times of the program's own code: what it sleeps, and what the host does for it, is not seen.
  gprof --brief --flat-profile "$program" "$work/gmon.out" | sed -n 1,30p
  say "call graph: gprof --brief --graph ${program#"$SOURCE/"} build/gprof/$name.gmon"
}
