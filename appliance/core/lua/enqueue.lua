-- enqueue(high, normal, low, queued, wake, needs; generation_key, generation, place, task, place, task, ...) -> added
-- Tell agents of rows that wait; a place is a class (1, 2, 3) or, of directed work, `class:needs`. A row that has an
-- entry gets no second one (PROTOCOLS 7.4).
-- An entry that somebody has read is no telling any more: its reader claimed the row, which has come back since, or died
-- before. It is replaced, so that whoever is free learns of it now. If its reader still claims the row, the new entry is
-- dropped by who reads that. An entry in another place is replaced as well: the row was directed until then.
-- Refused when the rows were stamped as told to another generation: the sweep tells this one.
local function untold(keys, place, mark)
  if not mark then return true end
  local known, there = place_of(place, mark)
  local stream = stream_of(keys, there)
  -- A Redis that came back with older data may know the mark and not the entry.
  if #redis.call('XRANGE', stream, known, known) == 0 then return true end
  local pending = redis.pcall('XPENDING', stream, 'agents', known, known, 1)
  if there == place and (pending.err or #pending == 0) then return false end
  redis.call('XACK', stream, 'agents', known)
  redis.call('XDEL', stream, known)
  return true
end

redis.register_function('enqueue', function(keys, args)
  local generation, refusal = require_generation(args[1])
  if refusal then return refusal end
  if generation ~= args[2] then return redis.error_reply('NO_GENERATION another one is in force') end
  local added = 0
  for i = 3, #args, 2 do
    local place, task = args[i], args[i + 1]
    if untold(keys, place, redis.call('HGET', keys[4], task)) then
      local entry = redis.call('XADD', stream_of(keys, place), '*', 't', task)
      redis.call('HSET', keys[4], task, mark_of(place, entry))
      local needs = string.match(place, ':(.+)')
      if needs then redis.call('SADD', keys[6], needs) end
      added = added + 1
    end
  end
  if added > 0 then redis.call('XADD', keys[5], 'MAXLEN', 1, '*', 'n', added) end
  return added
end)
