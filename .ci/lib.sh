# Functions of .ci/run; sourced, not run.

passed=0
failed=0
logs=$(mktemp -d)

# stage NAME COMMAND... runs a command quietly; what it said is shown when it fails.
stage() {
  local name=$1 began=$SECONDS log
  shift
  log="$logs/$(printf '%s' "$name" | tr -c 'A-Za-z0-9\n' _)"
  printf '%-28s ' "$name"
  if "$@" >"$log" 2>&1; then
    printf 'ok    %4ds  %s\n' $((SECONDS - began)) "$(note "$log")"
    return
  fi
  printf 'FAIL  %4ds\n' $((SECONDS - began))
  grep -vE '^=== (RUN|PAUSE|CONT|NAME) |^ *--- (PASS|SKIP): ' "$log" | tail -n 200 || true
  echo 'failed:'
  grep -E '^ *--- FAIL: ' "$log" | head -n 40 || true # which the last lines may not name
  exit 1
}

# note is the last line of a log that begins with "note: ", for the stage's line.
note() { sed -n 's/^note: //p' "$1" | tail -n 1; }

# count_tests COMMAND... runs `go test -v` and adds up what it ran. A test that
# was skipped is a failure: what does not run proves nothing.
count_tests() {
  local out ran=0 bad=0 skipped=0 status=0
  out=$(mktemp "$logs/tests.XXXXXX")
  "$@" >"$out" 2>&1 || status=$?
  cat "$out"
  ran=$(grep -cE '^ *--- PASS: ' "$out" || true)
  bad=$(grep -cE '^ *--- FAIL: ' "$out" || true)
  skipped=$(grep -cE '^ *--- SKIP: ' "$out" || true)
  if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
    bad=1 # did not build, panicked or ran out of time
  fi
  passed=$((passed + ran))
  failed=$((failed + bad + skipped))
  echo "note: $ran passed"
  if [ "$skipped" -ne 0 ]; then
    echo "$skipped tests were skipped:"
    grep -E '^ *--- SKIP: ' "$out" | sed 's/--- SKIP: /skipped /'
    return 1
  fi
  if [ "$ran" -eq 0 ]; then
    echo "no test ran"
    return 1
  fi
  return "$status"
}

# need COMMAND PACKAGE... installs Debian packages where a command is missing.
need() {
  local command=$1
  shift
  command -v "$command" >/dev/null && return
  [ -n "${apt_updated:-}" ] || apt-get update -qq
  apt_updated=1
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# summary closes the run, however it ends.
summary() {
  local status=$?
  if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
    failed=1 # a stage that is not a test
  fi
  rm -rf "$logs"
  echo "$passed passed, $failed failed"
  exit "$status"
}
