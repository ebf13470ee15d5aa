-- ask_rebuild(build; seen) -> the build that is wanted now
-- Whoever saw an older one asks for nothing more.
redis.register_function('ask_rebuild', function(keys, args)
  local build = tonumber(redis.call('GET', keys[1]) or '0')
  if build > tonumber(args[1]) then return build end
  return redis.call('INCR', keys[1])
end)
