-- The latest beats of workers.
--
-- KEYS[1]         generation
-- KEYS[2...]      hashes of workers
-- ARGV[1]         a generation, taken where there is none
-- ARGV[2...]      for each worker the number of the beat that the caller knows
-- Returns         {generation, {{place in KEYS, number, age in ms, picture or nil if it is known, its code}, ...}, why writes are
--                 refused or nil, keys of which somebody else had made something else}; no entry for a worker without a hash
local generation = generation_of(KEYS[1], ARGV[1])
-- A server that answers reads may refuse writes (no memory left, a replica, a full disk): so what is there is written again.
local written = redis.pcall('SET', KEYS[1], generation)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen = {}
for i = 2, #KEYS do
    local stored, beat_at = unpack(own('HMGET', KEYS[i], 'number', 'beat_at'))
    local number, at = count_of(stored), count_of(beat_at)
    if number and at then
        local picture, code = false, false
        if stored ~= ARGV[i] then
            picture, code = unpack(redis.call('HMGET', KEYS[i], 'picture', 'picture_code'))
        end
        -- A clock that was set back makes no beat come from the future.
        seen[#seen + 1] = {i, number, math.max(0, now - at), picture, code}
    end
end
return {generation, seen, written.err or false, replaced}
