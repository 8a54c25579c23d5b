# Runs in a container of the dev target and prints one line NAME VALUE per result for
# dev-container.sh.
echo "clock $(date +%s)"
echo "disk $(df -Pk / | awk 'NR == 2 { print int($4 / 1000) }')"
echo "mount $(cat .local/doctor/nonce)"
(umask 077; : >.local/doctor/written)
python -c '
from watchfiles import watch
seen = next(watch(".local/doctor/watched", watch_filter=None, rust_timeout=2500, yield_on_timeout=True))
print("watch", "yes" if seen else "no")' &
python -c 'from environment.reading import load_or_exit; load_or_exit()' 2>.local/doctor/problems && rm .local/doctor/problems
wait
