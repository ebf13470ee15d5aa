-- index_memories(document, gone, document, gone, ...; version, pairs, field, value, ..., version, pairs, ...) -> {1 or 0, ...}
-- Write documents of memories. 0: a newer version is there, or the same one with a vector that this one lacks, or the
-- memory was taken out meanwhile: a writer that slept never wins.
local function is_older(document, gone, version, has_vector)
  if redis.call('EXISTS', gone) == 1 then return true end
  local there = tonumber(redis.call('HGET', document, 'version') or '-1')
  if there ~= version then return there > version end
  return not has_vector and redis.call('HEXISTS', document, 'embedding') == 1
end

redis.register_function('index_memories', function(keys, args)
  local written, at = {}, 1
  for i = 1, #keys, 2 do
    local version, pairs = tonumber(args[at]), tonumber(args[at + 1])
    local last, has_vector = at + 1 + 2 * pairs, false
    for field = at + 2, last, 2 do has_vector = has_vector or args[field] == 'embedding' end
    if is_older(keys[i], keys[i + 1], version, has_vector) then
      written[#written + 1] = 0
    else
      if not has_vector then redis.call('HDEL', keys[i], 'embedding') end
      redis.call('HSET', keys[i], unpack(args, at + 2, last))
      written[#written + 1] = 1
    end
    at = last + 1
  end
  return written
end)
