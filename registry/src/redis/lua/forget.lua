-- Removes all traces of a worker.
--
-- KEYS[1]         set of the pool's agents
-- KEYS[2]         set of this worker's agents
-- KEYS[3]         hash of the worker
-- KEYS[4]         mark of a condemned worker
-- KEYS[5]         zset of the pool's free slots
-- ARGV[1]         the worker's id
-- ARGV[2]         what stands before an agent's id in its key
-- Returns         keys of which somebody else had made something else
for _, agent in ipairs(own('SMEMBERS', KEYS[2])) do
    local key = ARGV[2] .. agent
    -- An agent that runs elsewhere by now is not this worker's to take along.
    if own('HGET', key, 'process_id') == ARGV[1] then
        redis.call('DEL', key)
        own('SREM', KEYS[1], agent)
    end
end
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
own('ZREM', KEYS[5], ARGV[1])
return replaced
