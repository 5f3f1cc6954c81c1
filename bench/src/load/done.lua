
function done(summary, latency)
  local e = summary.errors
  print(string.format(
    '\nFIGURES {"requests":%d,"microseconds":%d,"bytes":%d,"p50":%d,"p99":%d,'
      .. '"refused":%d,"broken":%d}',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
