-- position(events, attempts, generation; turn or '') -> {generation, first id, last id, id before the turn's first event or ''}
-- Where a reader stands: ids are '' when the stream is empty. Reads only.
redis.register_function({function_name = 'position', flags = {'no-writes'}, callback = function(keys, args)
  local generation, refusal = require_generation(keys[3])
  if refusal then return refusal end
  local first = redis.call('XRANGE', keys[1], '-', '+', 'COUNT', 1)
  local last = redis.call('XREVRANGE', keys[1], '+', '-', 'COUNT', 1)
  local start = args[1] ~= '' and redis.call('HGET', keys[2], args[1] .. ':start') or false
  return {generation, first[1] and first[1][1] or '', last[1] and last[1][1] or '', start or ''}
end})
