-- append(events, attempts; generation, turn, attempt, ttl_s, max_entries, type, data, type, data, ...) -> id of the last entry
-- Everything a client sees comes through here; only the attempt opened last may append (PROTOCOLS 8.1).
-- The generation's key is an argument: Redis wants the right to write all declared keys, and runners may not write this one.
redis.register_function('append', function(keys, args)
  local _, refusal = require_generation(args[1])
  if refusal then return refusal end
  local opened = redis.call('HGET', keys[2], args[2])
  if not opened then return redis.error_reply('NO_ATTEMPT this turn was not opened') end
  -- A Redis that came back with older data may know an earlier attempt only: then its owner opens it again.
  if tonumber(opened) < tonumber(args[3]) then return redis.error_reply('NO_ATTEMPT it was not opened yet') end
  if opened ~= args[3] then return redis.error_reply('STALE_ATTEMPT attempt ' .. opened .. ' was opened') end
  local id
  for i = 6, #args, 2 do
    id = redis.call('XADD', keys[1], 'MAXLEN', '~', args[5], '*', 't', args[i], 'turn', args[2], 'n', args[3], 'd', args[i + 1])
  end
  redis.call('EXPIRE', keys[1], args[4])
  redis.call('EXPIRE', keys[2], args[4])
  return id
end)
