-- Put before beat.lua and report.lua, behind own.lua: writes what changed of a worker's agents.
--
-- KEYS[1]         set of the pool's agents
-- KEYS[2]         set of this worker's agents
-- KEYS[key...]    hashes of the changed agents, then of those that are gone
-- ARGV[1]         the worker's id
-- ARGV[2]         the pool's name
-- ARGV[arg]       how many changed, then for each: agent id, epoch, updated_at, role_type, project_id, status, pid, reason
-- ARGV[...]       how many are gone, then the id of each
--
-- An agent that was assigned anew since is not touched by its former worker: a hash with a later epoch is not
-- overwritten, and only a hash that names this worker is removed.
local function write_agents(arg, key)
    local held = {}
    local changed = tonumber(ARGV[arg])
    arg = arg + 1
    for _ = 1, changed do
        local stored = own('HGET', KEYS[key], 'epoch')
        local epoch = count_of(stored)
        -- Nobody of us wrote what is no number, or is one that no agent comes to: that would keep all of us from writing.
        if stored and not (epoch and epoch <= tonumber(ARGV[arg + 1]) + 2 ^ 20) then
            replaced[#replaced + 1] = KEYS[key]
            epoch = nil
        end
        if not epoch or epoch <= tonumber(ARGV[arg + 1]) then
            redis.call('HSET', KEYS[key], 'process_id', ARGV[1], 'pool_name', ARGV[2],
                'epoch', ARGV[arg + 1], 'updated_at', ARGV[arg + 2], 'role_type', ARGV[arg + 3],
                'project_id', ARGV[arg + 4], 'status', ARGV[arg + 5], 'pid', ARGV[arg + 6], 'reason', ARGV[arg + 7])
            held[#held + 1] = ARGV[arg]
        end
        arg = arg + 8
        key = key + 1
    end
    if #held > 0 then
        own('SADD', KEYS[1], unpack(held))
        own('SADD', KEYS[2], unpack(held))
    end
    local gone = tonumber(ARGV[arg])
    for i = 1, gone do
        if own('HGET', KEYS[key], 'process_id') == ARGV[1] then
            redis.call('DEL', KEYS[key])
            own('SREM', KEYS[1], ARGV[arg + i])
        end
        own('SREM', KEYS[2], ARGV[arg + i])
        key = key + 1
    end
end


-- How many agents a worker holds is written as of one of its reports. What is from before a later report, e.g. a beat that comes
-- over a former connection, changes nothing: whoever read that report finds the number right.
local function is_later_count(stored, report)
    local counted = count_of(stored)
    return counted and counted > tonumber(report)
end
