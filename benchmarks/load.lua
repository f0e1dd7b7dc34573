-- One load: the same request again and again, but for 16 hexadecimal digits in its body.
-- Arguments: file of what comes before the digits, file of what comes after, kind, run, pool.
--   new: digits that nobody has sent before; known: the pool's, again and again; half: in turn.

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local head, tail, kind, run, pool
local count = 0

function init(args)
  head, tail, kind = read(args[1]), read(args[2]), args[3]
  run, pool = tonumber(args[4]), tonumber(args[5])
end

function request()
  count = count + 1
  local number
  if kind == "known" or (kind == "half" and count % 2 == 0) then
    number = string.format("00000000%08x", count % pool)
  else
    number = string.format("%08x%08x", run, count)
  end
  return head .. number .. tail
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50": %f, "p95": %f, "p99": %f, "refused": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
