-- POST that asks for a signed URL of one of the objects 1..count in turn. Arguments: key prefix, count.
local requests, count, at = {}, 0, 0

function init(args)
  count = tonumber(args[2])
  for n = 1, count do
    local body = '{"key":"' .. args[1] .. n .. '","method":"GET","via":"backend"}'
    requests[n] = wrk.format("POST", "/v1/signed-urls", { ["Content-Type"] = "application/json" }, body)
  end
end

function request()
  at = at % count + 1
  return requests[at]
end
