// The scripts that Redis runs in one step each.

/**
 * Sets each state unless the stored record has seen a newer event, as hasSeenMore() decides, except
 * that the checksum is not checked. The time of the newest event is the f64 at byte 32 of a record.
 * For each state there are two keys, of the record and of its history digest, and three arguments:
 * the record, its history digest and the checksum to replace, which may be empty.
 */
export const PUT_UNLESS_OLDER = `
  for i = 1, #KEYS / 2 do
    local key, new, replaces = KEYS[2 * i - 1], ARGV[3 * i - 2], ARGV[3 * i]
    local old = redis.call('GET', key)
    if not old or #old < 44 or string.sub(old, -4) == replaces
        or struct.unpack('<d', old, 33) <= struct.unpack('<d', new, 33) then
      redis.call('SET', key, new)
      if ARGV[3 * i - 1] ~= '' then redis.call('SET', KEYS[2 * i], ARGV[3 * i - 1]) end
    end
  end
  return #KEYS`;

/**
 * For each state, whose keys are as above: the f64 at byte 32, the checksum at the end, and the
 * history digest if there is one; empty when there is no state.
 */
export const READ_SUMMARIES = `
  local found = {}
  for i = 1, #KEYS / 2 do
    local key = KEYS[2 * i - 1]
    local time = redis.call('GETRANGE', key, 32, 39)
    if #time < 8 then
      found[i] = ''
    else
      found[i] = time .. redis.call('GETRANGE', key, -4, -1)
        .. (redis.call('GET', KEYS[2 * i]) or '')
    end
  end
  return found`;
