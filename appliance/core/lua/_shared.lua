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

-- The same for a primary's writes: a lower epoch than the cached one is refused, a higher one raises the cache.
local function guard(epoch_key, epoch)
  local cached = redis.call('GET', epoch_key)
  if not cached then return redis.error_reply('NO_GENERATION no epoch is cached') end
  if tonumber(epoch) < tonumber(cached) then return redis.error_reply('STALE_EPOCH cached ' .. cached) end
  return nil
end
