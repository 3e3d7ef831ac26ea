# `./dev test`: the stages, and the sum of what they found. Sourced by ./dev.

passed=0
failed=0
failures=()

# Adds to the sums; names what failed.
count() {
  passed=$((passed + $1))
  failed=$((failed + $2))
  (($2 == 0)) || failures+=("$3")
}

# check NAME COMMAND...: a stage that passes or fails as a whole.
check() {
  local name=$1 start=$SECONDS
  shift
  say "$name"
  if "$@"; then
    count 1 0 "$name"
  else
    count 0 1 "$name"
    say "FAILED: $name"
  fi
  say "$name took $((SECONDS - start)) s"
}

# unlisted_skips PRESET LOG: the cases that skipped although tests/unit_skips.txt does not say that they may.
unlisted_skips() {
  sed -nE 's/^\s*[0-9]+ - (.*) \(Skipped\)$/\1/p' "$2" |
    grep -vE -f <(awk -v preset="$1" '!/^#/ && NF && preset ~ "^(" $1 ")$" { print $2 }' "$SOURCE/tests/unit_skips.txt") || true
}

# unit_tests NAME PRESET [CTEST-ARG...]: counts each test case.
unit_tests() {
  local name=$1 preset=$2 start=$SECONDS log=$BUILD/ctest-$2.log summary
  shift 2
  say "$name"
  # The thread sanitizer of g++ 12 cannot live with all the address randomisation of newer kernels.
  local steady=()
  if [[ $preset == tsan ]] && setarch -R true 2>/dev/null; then steady=(setarch -R); fi
  "${steady[@]}" ctest --test-dir "$BUILD/$preset" -j "$JOBS" --timeout 120 --output-on-failure --no-tests=error "$@" >"$log" 2>&1 || true
  summary=$(grep -E '^[0-9]+% tests passed' "$log" || true)
  if [[ $summary =~ ([0-9]+)\ tests\ failed\ out\ of\ ([0-9]+) ]]; then
    local bad=${BASH_REMATCH[1]} all=${BASH_REMATCH[2]} skipped
    mapfile -t skipped < <(unlisted_skips "$preset" "$log")
    if ((${#skipped[@]})); then
      printf 'skipped, and not in tests/unit_skips.txt: %s\n' "${skipped[@]}" >&2
      bad=$((bad + ${#skipped[@]}))
    fi
    count $((all - bad)) "$bad" "$name"
    ((bad == 0)) || grep -vE '^ *[0-9]+/[0-9]+ Test .* Passed|^ *Start ' "$log" >&2 || true
    say "$name: $((all - bad)) passed, $bad failed, $((SECONDS - start)) s"
  elif grep -q 'No tests were found' "$log"; then
    say "$name: none"
  else
    cat "$log" >&2
    count 0 1 "$name"
  fi
}

# guest_tests ARG...: tests/run prints `N passed, N failed` as its last line.
guest_tests() {
  local start=$SECONDS log=$BUILD/guest-tests.log status=0 last
  say "guest tests"
  "$SOURCE/tests/run" "$@" 2>&1 | tee "$log" >&2 || status=$?
  last=$(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1 || true)
  if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed ]]; then
    count "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" "guest tests"
    # A runner that dies after its sums has failed too.
    ((status == 0 || BASH_REMATCH[2] > 0)) || count 0 1 "guest tests (exit status $status)"
  else
    count $((status == 0)) $((status != 0)) "guest tests"
  fi
  say "guest tests took $((SECONDS - start)) s"
}

image_objects() { find "$BUILD/release" -path '*_image.dir*' -name '*.o'; }

tidy() {
  (cd "$SOURCE" && git ls-files 'src/*.cpp' | grep -v _test.cpp | xargs -r -n 4 -P "$JOBS" clang-tidy-14 --quiet -p build/clang)
}

run_tests() {
  local all=() start=$SECONDS
  while (($#)); do
    case $1 in
      --all) all=(--all) ;;
      *) die "test: there is no option '$1'" ;;
    esac
    shift
  done
  cd "$SOURCE"

  check "layers" tools/check_layers
  check "release build" compile release
  check "headers" tools/check_headers
  unit_tests "unit tests" release -L 'unit|tools'
  if [[ -e $BUILD/vmumk ]]; then
    mapfile -t objects < <(image_objects)
    check "kernel image" tools/check_image "$BUILD/vmumk" "${objects[@]}"
  fi
  check "lock annotations (clang)" tools/check_locks
  check "build with address and undefined-behaviour sanitizers" compile asan
  unit_tests "unit tests with address and undefined-behaviour sanitizers" asan -L unit
  check "build with thread sanitizer" compile tsan
  unit_tests "unit tests with thread sanitizer" tsan -L unit
  if [[ -x tests/run ]]; then guest_tests "${all[@]}"; fi
  if ((${#all[@]})); then
    check "format" "$SOURCE/dev" format --check
    check "clang-tidy" tidy
  fi

  say "all stages took $((SECONDS - start)) s"
  local name
  for name in "${failures[@]}"; do say "FAILED: $name"; done
  printf '%d passed, %d failed\n' "$passed" "$failed"
  ((failed == 0))
}
