-- unindex_memories(document or gone, ...; gones, ttl_s) -> documents removed
-- Take memories out of all indexes: the first `gones` keys note it, so that a writer that slept brings none back.
redis.register_function('unindex_memories', function(keys, args)
  local gones, removed = tonumber(args[1]), 0
  for i = 1, gones do redis.call('SET', keys[i], 1, 'EX', args[2]) end
  for i = gones + 1, #keys do removed = removed + redis.call('DEL', keys[i]) end
  return removed
end)
