-- GET of objects 1..count in turn. Arguments: path prefix, count.
local requests, count, at = {}, 0, 0

function init(args)
  count = tonumber(args[2])
  for n = 1, count do
    requests[n] = wrk.format("GET", args[1] .. n)
  end
end

function request()
  at = at % count + 1
  return requests[at]
end
