-- withdraw_suspicion(suspects, generation; voter) -> 1 if it had said so.
-- A keeper hears the boot again: its word must not make another's, about another cut a moment later, the second one.
redis.register_function('withdraw_suspicion', function(keys, args)
  local _, refusal = require_generation(keys[2])
  if refusal then return refusal end
  return redis.call('ZREM', keys[1], args[1])
end)
