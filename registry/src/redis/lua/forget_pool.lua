-- Removes all traces of a pool.
--
-- KEYS[1]         set of the pool's agents
-- KEYS[2...]      zset of its free slots, stream of its reports, sets of its workers' agents
-- ARGV[1]         the pool's name
-- ARGV[2]         what stands before an agent's id in its key
-- Returns         keys of which somebody else had made something else
for _, agent in ipairs(own('SMEMBERS', KEYS[1])) do
    local key = ARGV[2] .. agent
    if own('HGET', key, 'pool_name') == ARGV[1] then
        redis.call('DEL', key)
    end
end
for i = 1, #KEYS do
    redis.call('DEL', KEYS[i])
end
return replaced
