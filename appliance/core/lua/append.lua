-- append(events, attempts, generation; turn, attempt, ttl_s, max_entries, type, data, type, data, ...) -> id of the last entry
-- Everything a client sees comes through here; only the attempt opened last may append (PROTOCOLS 8.1).
redis.register_function('append', function(keys, args)
  local _, refusal = require_generation(keys[3])
  if refusal then return refusal end
  local opened = redis.call('HGET', keys[2], args[1])
  if not opened then return redis.error_reply('NO_ATTEMPT this turn was not opened') end
  if opened ~= args[2] then return redis.error_reply('STALE_ATTEMPT attempt ' .. opened .. ' was opened') end
  local id
  for i = 5, #args, 2 do
    id = redis.call('XADD', keys[1], 'MAXLEN', '~', args[4], '*', 't', args[i], 'turn', args[1], 'n', args[2], 'd', args[i + 1])
  end
  redis.call('EXPIRE', keys[1], args[3])
  redis.call('EXPIRE', keys[2], args[3])
  return id
end)
