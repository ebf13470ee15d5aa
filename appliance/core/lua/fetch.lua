-- fetch(high, normal, low, needs; consumer, count, idle_ms, passed_high, passed_normal, passed_low, capability, ...)
--   -> {share, others, place, entry, task, place, entry, task, ...} of one stream; {} when nothing waits
-- One stream a read, since COUNT counts per stream (PROTOCOLS 7.5). Of those that have something the one is read whose
-- turn it is: the reader has `passed` the least of it, entries read divided by the share, 6 : 3 : 1. A stream whose head
-- has waited for 30 s counts one class up; `share` is what counted. The larger a batch, the longer the others are next.
-- A class has a stream of its own, and one for each set of needs that this reader's capabilities contain: of these the
-- one whose head is older.
-- Entries that somebody read and did not drop within `idle_ms` come first, outside of all shares (`share` is 0): its
-- reply was lost, or PostgreSQL was away. `others` says whether another stream, too, had something to be read.
local TASK_GROUP, AGED_MS, SHARES = 'agents', 30000, {6, 3, 1}

local function read_tasks(stream, consumer, count)
  local reply = redis.pcall('XREADGROUP', 'GROUP', TASK_GROUP, consumer, 'COUNT', count, 'STREAMS', stream, '>')
  if reply and reply.err then
    redis.call('XGROUP', 'CREATE', stream, TASK_GROUP, '0', 'MKSTREAM')
    reply = redis.call('XREADGROUP', 'GROUP', TASK_GROUP, consumer, 'COUNT', count, 'STREAMS', stream, '>')
  end
  return reply and reply[1] and reply[1][2] or {}
end

local function left_behind(stream, consumer, idle_ms, count)
  local reply = redis.pcall('XAUTOCLAIM', stream, TASK_GROUP, consumer, idle_ms, '0', 'COUNT', count)
  return reply.err and {} or reply[2]
end

local function flat(share, others, place, entries)
  local reply = {share, others and 1 or 0}
  for _, entry in ipairs(entries) do
    if entry and entry[2] then
      reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = place, entry[1], entry[2][2]
    end
  end
  return reply
end

-- The places this reader may read: the three classes, and those of needs that it has.
local function places(needs_key, args)
  local found, can = {'1', '2', '3'}, {}
  local known = known_needs(needs_key)
  if #known == 0 then return found end
  for i = 7, #args do can[args[i]] = true end
  for _, needs in ipairs(known) do
    local able = true
    for word in string.gmatch(needs, '[^+]+') do able = able and can[word] end
    for class = 1, able and 3 or 0 do found[#found + 1] = class .. ':' .. needs end
  end
  return found
end

redis.register_function('fetch', function(keys, args)
  local now, waiting = now_ms(), {}
  for _, place in ipairs(places(keys[4], args)) do
    local stream, class = stream_of(keys, place), tonumber(string.sub(place, 1, 1))
    local head = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
    if head then
      if tonumber(args[3]) > 0 then
        local entries = left_behind(stream, args[1], args[3], args[2])
        if #entries > 0 then return flat(0, true, place, entries) end
      end
      local since = tonumber(string.match(head[1], '^(%d+)-'))
      local share = SHARES[now - since > AGED_MS and math.max(1, class - 1) or class]
      waiting[#waiting + 1] = {place, share, tonumber(args[3 + class]), class, since}
    end
  end
  table.sort(waiting, function(one, other)
    for _, by in ipairs({3, 4, 5}) do
      if one[by] ~= other[by] then return one[by] < other[by] end
    end
    return false
  end)
  for _, it in ipairs(waiting) do
    local entries = read_tasks(stream_of(keys, it[1]), args[1], args[2])
    if #entries > 0 then return flat(it[2], #waiting > 1, it[1], entries) end
  end
  return {}
end)
