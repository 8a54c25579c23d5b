-- Sends requests of the sessions given as arguments, in turn, and prints wrk's results as JSON, for
-- scripts/bench/servers.py.
local requests, sent = {}, 0

init = function(sessions)
  for _, session in ipairs(sessions) do
    wrk.headers["Cookie"] = "sessionid=" .. session
    table.insert(requests, wrk.format())
  end
end

request = function()
  sent = sent + 1
  return requests[sent % #requests + 1]
end

done = function(summary, latency, _)
  local e = summary.errors
  io.write(string.format(
    '{"requests": %d, "seconds": %f, "failed": %d, "p50": %f, "p99": %f}\n',
    summary.requests, summary.duration / 1e6,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
