-- enqueue(high, normal, low, queued, wake; generation_key, generation, class, task, class, task, ...) -> entries added
-- Tell agents of rows that wait; class is 1, 2 or 3. A row that has an entry gets no second one (PROTOCOLS 7.4).
-- An entry that somebody has read is no telling any more: its reader claimed the row, which has come back since, or died
-- before. It is replaced, so that whoever is free learns of it now. If its reader still claims the row, the new entry is
-- dropped by who reads that.
-- Refused when the rows were stamped as told to another generation: the sweep tells this one.
local function untold(stream, known)
  -- A Redis that came back with older data may know the mark and not the entry.
  if not known or #redis.call('XRANGE', stream, known, known) == 0 then return true end
  local pending = redis.pcall('XPENDING', stream, 'agents', known, known, 1)
  if pending.err or #pending == 0 then return false end
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
    local stream, known = keys[tonumber(args[i])], redis.call('HGET', keys[4], args[i + 1])
    if untold(stream, known) then
      redis.call('HSET', keys[4], args[i + 1], redis.call('XADD', stream, '*', 't', args[i + 1]))
      added = added + 1
    end
  end
  if added > 0 then redis.call('XADD', keys[5], 'MAXLEN', 1, '*', 'n', added) end
  return added
end)
