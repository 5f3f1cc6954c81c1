-- PUT of one new object after the other: a key never comes twice, nor does a body.
-- Arguments: path prefix, body size, a file with the bytes that follow the number in every body.
local head, tail, at = nil, nil, 0

function init(args)
  local file = assert(io.open(args[3], "rb"))
  tail = file:read("*a")
  file:close()
  head = "PUT " .. args[1] .. "%d HTTP/1.1\r\nHost: localhost\r\n"
    .. "Content-Type: application/octet-stream\r\nContent-Length: " .. args[2] .. "\r\n\r\n%016d"
end

function request()
  at = at + 1
  return head:format(at, at) .. tail
end
