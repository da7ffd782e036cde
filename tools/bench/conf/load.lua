-- A thousand callers, each known by its cookie, ask in turn. The requests are
-- made beforehand: making them must not cost the load generator its core.
local asked, turn = {}, 0

function init(args)
	for i = 0, 999 do
		local cookie = string.format("slipway_id=%08x%08x%08x%08x", i * 2654435761 % 4294967296, i, i * 40503 % 65536, 7)
		asked[i] = wrk.format("GET", wrk.path, { ["Host"] = wrk.host, ["Cookie"] = cookie })
	end
end

function request()
	turn = (turn + 1) % 1000
	return asked[turn]
end

function done(summary)
	local e = summary.errors
	io.write(string.format("result requests=%d bytes=%d connect=%d read=%d write=%d timeout=%d status=%d\n",
		summary.requests, summary.bytes, e.connect, e.read, e.write, e.timeout, e.status))
end
