-- fetch(high, normal, low; consumer, count, lot, idle_ms) -> {class, entry, task, ...} of one stream
-- One stream a read, since COUNT counts per stream (PROTOCOLS 7.5). `lot`, from 0 up to 1, chooses it: 6 : 3 : 1 of
-- what is drawn, where a stream whose head has waited for 30 s counts one class up; an empty one passes to the next.
-- Entries that somebody read and did not drop within `idle_ms` come first: its reply was lost, or PostgreSQL was away.
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

local function flat(class, entries)
  local reply = {}
  for _, entry in ipairs(entries) do
    if entry and entry[2] then
      reply[#reply + 1], reply[#reply + 2], reply[#reply + 3] = class, entry[1], entry[2][2]
    end
  end
  return reply
end

redis.register_function('fetch', function(keys, args)
  local now, shares, sum = now_ms(), {}, 0
  for class = 1, 3 do
    local head = redis.call('XRANGE', keys[class], '-', '+', 'COUNT', 1)[1]
    if head then
      if tonumber(args[4]) > 0 then
        local entries = left_behind(keys[class], args[1], args[4], args[2])
        if #entries > 0 then return flat(class, entries) end
      end
      local aged = now - tonumber(string.match(head[1], '^(%d+)-')) > AGED_MS
      shares[class] = SHARES[aged and math.max(1, class - 1) or class]
      sum = sum + shares[class]
    end
  end
  local lot, order = tonumber(args[3]) * sum, {}
  for class = 1, 3 do
    if shares[class] then
      if lot >= 0 and lot < shares[class] then table.insert(order, 1, class) else order[#order + 1] = class end
      lot = lot - shares[class]
    end
  end
  for _, class in ipairs(order) do
    local entries = read_tasks(keys[class], args[1], args[2])
    if #entries > 0 then return flat(class, entries) end
  end
  return {}
end)
