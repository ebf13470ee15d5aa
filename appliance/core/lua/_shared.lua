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

-- guard: the first line of every function that acts for a primary (PROTOCOLS 6.3). The cached epoch only rises, so a
-- lower one is a deposed primary's; a higher one has been verified in PostgreSQL by its caller and raises the cache.
local function refuse_stale_epoch(epoch_key, generation_key, epoch)
  local _, refusal = require_generation(generation_key)
  if refusal then return refusal end
  local cached = tonumber(redis.call('GET', epoch_key) or '0')
  if tonumber(epoch) < cached then
    return redis.error_reply('STALE_EPOCH epoch ' .. cached .. ' is in force')
  end
end

-- Agents that count when votes do: alive by their boot key, and their own beat says that they can vote.
local function living_voters(agents_key, agent_prefix, boot_prefix, suspect)
  local living = {}
  for _, id in ipairs(redis.call('SMEMBERS', agents_key)) do
    local record = redis.call('HMGET', agent_prefix .. id, 'boot', 'can_vote')
    if id ~= suspect and record[2] == '1' and redis.call('EXISTS', boot_prefix .. (record[1] or '')) == 1 then
      living[#living + 1] = id
    end
  end
  return living
end

-- Where a task is told of: `keys[class]`, or for directed work (`class:needs`) the stream beside it with these needs.
local function stream_of(keys, place)
  return keys[tonumber(place)] or keys[tonumber(string.sub(place, 1, 1))] .. string.sub(place, 2)
end

-- All needs that streams exist for; none to a program of the version before, which names no such key.
local function known_needs(key)
  return key and redis.call('SMEMBERS', key) or {}
end

-- What the hash `queued` says of an entry: its id; of directed work the place as well.
local function mark_of(place, entry)
  return tonumber(place) and entry or entry .. ' ' .. place
end

-- The entry a mark names, and its place; that of a plain one is the class of `place`.
local function place_of(place, mark)
  local at = string.find(mark, ' ', 1, true)
  if at then return string.sub(mark, 1, at - 1), string.sub(mark, at + 1) end
  return mark, string.sub(place, 1, 1)
end
