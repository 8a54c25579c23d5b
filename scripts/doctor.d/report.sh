# Run checks and report their results. A row is STATUS, CHECK, TEXT and REMEDY, separated by tabs.

ok() { printf 'ok\t%s\t%s\t\n' "$check" "$1"; }
# note TEXT: the check could not run, which is not a problem in itself.
note() { printf 'note\t%s\t%s\t\n' "$check" "$1"; }
# bad TEXT REMEDY: a problem, and a command that solves it.
bad() { printf 'bad\t%s\t%s\t%s\n' "$check" "$1" "$2"; }

# run_checks NAME…: run them in parallel, and add their rows to the report in the given order.
run_checks() {
  pids='' rows=''
  for check; do
    "check_$check" >"$results/$check.rows" 2>/dev/null &
    pids="$pids $!" rows="$rows $check.rows"
  done
  # shellcheck disable=SC2086 # one word for each process
  wait $pids
  # shellcheck disable=SC2086 # one word for each file
  (cd "$results" && cat $rows >>report)
}

# print_report: print every result in full mode; otherwise print only the problems, on stderr.
print_report() {
  if [ -n "${JSON:-}" ]; then
    report_as_json
  elif [ "$mode" = full ]; then
    report_as_text
  else
    report_as_text >&2
  fi
}

report_as_text() {
  awk -F '\t' -v mode="$mode" '
    $1 == "bad" { problems++; printf "Problem: %s\n    Try: %s\n", $3, $4; next }
    mode == "full" { printf "%-6s %s\n", $1 == "ok" ? "ok" : "-", $3 }
    END { if (mode == "full") print problems ? "\nProblems found: " problems "." : "\nNo problems found." }' "$results/report"
}

report_as_json() {
  awk -F '\t' '
    function quoted(s) { gsub(/["\\]/, "\\\\&", s); gsub(/[\001-\037]/, " ", s); return "\"" s "\"" }
    BEGIN { print "[" }
    {
      printf "%s  {\"check\": %s, \"status\": %s, \"text\": %s, \"remedy\": %s}", \
        (NR > 1 ? ",\n" : ""), quoted($2), quoted($1), quoted($3), quoted($4)
    }
    END { print "\n]" }' "$results/report"
}
