-- Shared by all functions. A Lua error does not roll back: every function validates first and writes last.

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The first line of every authoritative function (PROTOCOLS 6.3).
local function require_generation(key)
  local generation = redis.call('GET', key)
  if not generation then
    return nil, redis.error_reply('NO_GENERATION Redis holds no data yet')
  end
  return generation
end
