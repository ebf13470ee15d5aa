-- fetch(high, normal, low; consumer, count, idle_ms, passed_high, passed_normal, passed_low)
--   -> {share, class, entry, task, class, entry, task, ...} of one stream; {} when nothing waits
-- One stream a read, since COUNT counts per stream (PROTOCOLS 7.5). Of those that have something the one is read whose
-- turn it is: the reader has `passed` the least of it, entries read divided by the share, 6 : 3 : 1. A stream whose head
-- has waited for 30 s counts one class up; `share` is what counted. The larger a batch, the longer the others are next.
-- Entries that somebody read and did not drop within `idle_ms` come first, outside of all shares (`share` is 0): its
-- reply was lost, or PostgreSQL was away.
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

local function flat(share, class, entries)
  local reply = {share}
  for _, entry in ipairs(entries) do
    if entry and entry[2] then
      reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = class, entry[1], entry[2][2]
    end
  end
  return reply
end

redis.register_function('fetch', function(keys, args)
  local now, waiting = now_ms(), {}
  for class = 1, 3 do
    local head = redis.call('XRANGE', keys[class], '-', '+', 'COUNT', 1)[1]
    if head then
      if tonumber(args[3]) > 0 then
        local entries = left_behind(keys[class], args[1], args[3], args[2])
        if #entries > 0 then return flat(0, class, entries) end
      end
      local aged = now - tonumber(string.match(head[1], '^(%d+)-')) > AGED_MS
      waiting[#waiting + 1] = {class, SHARES[aged and math.max(1, class - 1) or class], tonumber(args[3 + class])}
    end
  end
  table.sort(waiting, function(one, other)
    if one[3] == other[3] then return one[1] < other[1] end
    return one[3] < other[3]
  end)
  for _, it in ipairs(waiting) do
    local entries = read_tasks(keys[it[1]], args[1], args[2])
    if #entries > 0 then return flat(it[2], it[1], entries) end
  end
  return {}
end)
