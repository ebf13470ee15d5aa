-- tell(; epoch_key, generation_key, epoch, channel, message) -> receivers
-- What a primary says to all, refused once it has been deposed (PROTOCOLS 6.3, guard). It runs in the runner,
-- who may not write these keys: as declared ones they would have to be writable.
redis.register_function('tell', function(_, args)
  local refusal = refuse_stale_epoch(args[1], args[2], args[3])
  if refusal then return refusal end
  return redis.call('PUBLISH', args[4], args[5])
end)
